"""Which of the host's apt sources test images are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagefs.testing.debian_packages import (
    AptSource,
    BootstrapError,
    debian_sources,
    parse_deb822,
    parse_list,
)

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb-src
URIs: http://mirror.example/debian
Suites: trixie
Components: main

Enabled: no
Types: deb
URIs: http://mirror.example/debian
Suites: trixie-security
Components: main

Types: deb
URIs: http://vendor.example/apt
Suites: trixie
Components: stable
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=trixie\n')
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    return tmp_path


def test_deb822_stanzas_give_one_source_for_each_suite() -> None:
    key = "/usr/share/keyrings/debian.gpg"
    assert list(parse_deb822(DEB822)) == [
        AptSource("http://mirror.example/debian", "trixie", ("main", "contrib"), key),
        AptSource("http://mirror.example/debian", "trixie-updates", ("main", "contrib"), key),
        AptSource("http://vendor.example/apt", "trixie", ("stable",)),
    ]


def test_lines_are_read_with_their_options_and_spelt_again() -> None:
    text = (
        "# deb no\ndeb [arch=amd64 signed-by=/k.gpg] http://m.example/d trixie main contrib # x\n"
    )
    (source,) = parse_list(text)
    assert str(source) == "deb [signed-by=/k.gpg] http://m.example/d trixie main contrib"


def test_only_the_releases_own_suites_with_main_are_taken(etc: Path) -> None:
    (etc / "apt/sources.list.d/debian.sources").write_text(DEB822)
    (etc / "apt/sources.list").write_text(
        "deb http://mirror.example/security trixie-security main\n"
        "deb http://mirror.example/debian sid main\n"
        "deb http://vendor.example/sdk cloud-trixie main\n"
    )
    assert [source.suite for source in debian_sources(etc)] == [
        "trixie-security",
        "trixie",
        "trixie-updates",
    ]


def test_a_host_without_debian_sources_is_told_so(etc: Path) -> None:
    with pytest.raises(BootstrapError, match="no apt source for Debian trixie"):
        debian_sources(etc)
