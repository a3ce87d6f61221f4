"""Paths inside a container's root, whose symlinks lead nowhere outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagefs.runtime.inroot import make_directory_in, read_in, stat_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    return root


@pytest.mark.parametrize("target", ["{out}/secret", "../../secret", "/../../secret"])
def test_links_do_not_lead_out(root: Path, target: str) -> None:
    (root / "etc/passwd").symlink_to(target.format(out=root.parent))
    assert read_in(root, "/etc/passwd") == b""


def test_links_are_followed_inside(root: Path) -> None:
    (root / "real").write_text("inside")
    (root / "etc/passwd").symlink_to("/real")
    assert read_in(root, "/etc/passwd") == b"inside"


def test_what_is_no_file_is_empty(root: Path) -> None:
    os.mkfifo(root / "etc/passwd")
    (root / "loop").symlink_to("loop")
    assert [read_in(root, p) for p in ("etc", "etc/passwd", "loop", "no/where")] == [b""] * 4


def test_directories_are_made_inside_only(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    assert stat_in(root, "/link/x") is None
    with pytest.raises(FileExistsError):
        make_directory_in(root, "/link/x", os.getuid(), os.getgid())
    assert list((root.parent / "outside").iterdir()) == []


def test_directories_are_made_with_those_above(root: Path) -> None:
    assert make_directory_in(root, "/a/b/c", os.getuid(), os.getgid())
    assert (root / "a/b/c").is_dir()
    assert not make_directory_in(root, "/a/b/c", os.getuid(), os.getgid())
    assert not make_directory_in(root, "/", os.getuid(), os.getgid())


def test_a_file_in_the_way_is_an_error(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_directory_in(root, "/file/x", os.getuid(), os.getgid())
