"""registries.conf: prefixes, mirrors, blocks, short names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.oci.reference import Reference
from imagefs.registry.conf import RegistriesConf
from imagefs.registry.errors import Blocked, ConfigError, ShortNameError

DIGEST = "sha256:" + "a" * 64


def conf(*texts: str) -> RegistriesConf:
    merged = RegistriesConf()
    for number, text in enumerate(texts):
        merged = merged.merged(text.encode(), f"conf{number}")
    return merged


def places(merged: RegistriesConf, text: str) -> list[tuple[str, bool]]:
    found = merged.endpoints(Reference.parse(text))
    return [(str(endpoint.reference), endpoint.insecure) for endpoint in found]


def test_without_a_table_a_reference_is_itself() -> None:
    assert places(conf(""), "quay.io/a/b:t") == [("quay.io/a/b:t", False)]


def test_mirrors_come_first_in_order_and_keep_tag_and_digest() -> None:
    merged = conf(
        """
        [[registry]]
        prefix = "quay.io/team"
        location = "backup.org/t"
        insecure = true
        [[registry.mirror]]
        location = "m1:5000/quay"
        [[registry.mirror]]
        location = "m2"
        insecure = true
        """
    )
    assert places(merged, f"quay.io/team/app:t@{DIGEST}") == [
        (f"m1:5000/quay/app:t@{DIGEST}", False),
        (f"m2/app:t@{DIGEST}", True),
        (f"backup.org/t/app:t@{DIGEST}", True),
    ]
    assert places(merged, "quay.io/teams/app:t") == [("quay.io/teams/app:t", False)]


def test_mirrors_may_be_for_digests_or_tags_alone() -> None:
    merged = conf(
        """
        [[registry]]
        location = "r.io"
        [[registry.mirror]]
        location = "by-digest.io"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "by-tag.io"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "s.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.io"
        """
    )
    assert [p for p, _ in places(merged, "r.io/a:t")] == ["by-tag.io/a:t", "r.io/a:t"]
    assert [p for p, _ in places(merged, f"r.io/a@{DIGEST}")] == [
        f"by-digest.io/a@{DIGEST}",
        f"r.io/a@{DIGEST}",
    ]
    assert [p for p, _ in places(merged, "s.io/a:t")] == ["s.io/a:t"]


def test_the_longest_prefix_wins_and_wildcards_match_subdomains() -> None:
    merged = conf(
        """
        [[registry]]
        prefix = "*.example.com"
        location = "wild.io"
        [[registry]]
        prefix = "a.example.com/x"
        blocked = true
        [[registry]]
        prefix = "host"
        location = "other.io"
        """
    )
    assert places(merged, "b.example.com/x:t") == [("wild.io/x:t", False)]
    assert places(merged, "example.com/x:t") == [("example.com/x:t", False)]
    assert places(merged, "host:5000/x:t") == [("host:5000/x:t", False)]
    with pytest.raises(Blocked, match=r"a\.example\.com/x.*blocked"):
        places(merged, "a.example.com/x/y:t")


def test_drop_ins_replace_tables_and_aliases() -> None:
    merged = conf(
        'unqualified-search-registries = ["a.io"]\n[aliases]\n"py" = "a.io/python"\n"x" = "a.io/x"',
        '[[registry]]\nlocation = "r.io"\nblocked = true\n[aliases]\n"x" = ""',
        '[[registry]]\nlocation = "r.io"\n',
    )
    assert [str(r) for r in merged.candidates(Reference.parse("py:3"))] == ["a.io/python:3"]
    assert [str(r) for r in merged.candidates(Reference.parse("x"))] == ["a.io/x"]
    assert places(merged, "r.io/x:t") == [("r.io/x:t", False)]


def test_short_names_are_searched_in_order_with_docker_hubs_library() -> None:
    merged = conf('unqualified-search-registries = ["a.io", "docker.io"]')
    found = merged.candidates(Reference.parse("python:3"))
    assert [str(r) for r in found] == ["a.io/python:3", "docker.io/library/python:3"]


def test_a_short_name_that_means_nothing_says_what_to_do() -> None:
    with pytest.raises(ShortNameError, match=r"unqualified-search-registries.*docker\.io"):
        conf("").candidates(Reference.parse("python"))
    strict = 'short-name-mode = "enforcing"\nunqualified-search-registries = ["a.io"%s]'
    assert len(conf(strict % "").candidates(Reference.parse("python"))) == 1
    with pytest.raises(ShortNameError, match=r"a\.io, b\.io"):
        conf(strict % ', "b.io"').candidates(Reference.parse("python"))


def test_complete_names_are_never_searched() -> None:
    found = conf("").candidates(Reference.parse("docker.io/python"))
    assert [str(r) for r in found] == ["docker.io/library/python"]


@pytest.mark.parametrize(
    "text",
    [
        "=",
        '[registries.search]\nregistries = ["a"]',
        "[[registry]]",
        "registry = 5",
        '[[registry]]\nlocation = "https://a"',
        '[[registry]]\nlocation = "a"\nblocked = "yes"',
        '[[registry]]\nprefix = "*.a/b"',
        '[[registry]]\nlocation = "a"\n[[registry]]\nlocation = "a"',
        '[[registry]]\nlocation = "a"\n[[registry.mirror]]\n',
        '[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation="b"\npull-from-mirror="x"',
        "unqualified-search-registries = [5]",
        'short-name-mode = "maybe"',
        "[aliases]\na = 5",
    ],
)
def test_bad_files_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^conf0: ") as caught:
        conf(text)
    assert "\n" not in str(caught.value)


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from('[]="a.\n#rgisty'), max_size=60).map(str.encode)
)
def test_any_bytes_are_understood_or_refused(raw: bytes) -> None:
    try:
        RegistriesConf().merged(raw, "conf")
    except ConfigError:
        pass
