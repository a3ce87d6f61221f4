"""Copying trees and archives into directories, without mounts and without a store."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagefs.formats.index import Entry
from imagefs.image.copyfrom import (
    CopyError,
    FileSource,
    Item,
    TreeSource,
    contents,
    look_up,
    tar_items,
)
from imagefs.image.copyto import Directory, write_tar
from imagefs.testing.layers import scan_blob
from imagefs.tree import Content, Tree, build_tree


def archive(*members: tuple[str, bytes, str | bytes]) -> bytes:
    """A tar of (name, type, link's target or content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755 if kind == tarfile.DIRTYPE else 0o640
            info.uid, info.gid, info.mtime = os.getuid(), os.getgid(), 1_600_000_000
            data = text if isinstance(text, bytes) else b""
            info.size, info.linkname = len(data), "" if isinstance(text, bytes) else text
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


TREE = archive(
    ("dir", tarfile.DIRTYPE, ""),
    ("dir/file", tarfile.REGTYPE, b"content" * 1000),
    ("dir/same", tarfile.LNKTYPE, "dir/file"),
    ("dir/up", tarfile.SYMTYPE, "../dir/file"),
    ("usr", tarfile.DIRTYPE, ""),
    ("usr/lib", tarfile.DIRTYPE, ""),
    ("usr/lib/so", tarfile.REGTYPE, b"so"),
    ("lib", tarfile.SYMTYPE, "/usr/../../../usr/./lib"),
    ("loop", tarfile.SYMTYPE, "loop"),
)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.open(build_tree([scan_blob(TREE).index]))


def read(content: Content, at: int, length: int) -> bytes:
    return scan_blob(TREE).sink.read(content.offset + at, length)


def into(directory: Path, *, overwrite: bool = False) -> Directory:
    """As the command opens it, but for the kernel's care with links."""

    def below(path: bytes) -> int:
        return os.open(directory / os.fsdecode(path), os.O_RDONLY | os.O_DIRECTORY)

    return Directory(below, overwrite=overwrite)


def put(items: Iterator[Item], directory: Path, *, overwrite: bool = False) -> None:
    with into(directory, overwrite=overwrite) as made:
        for item in items:
            made.put(item)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/", b""),
        (b"/dir/.", b"dir"),
        (b"dir//up", b"dir/file"),
        (b"/lib/so", b"usr/lib/so"),
        (b"/../../lib", b"usr/lib"),
        (b"/dir/../dir/same/..", b"dir"),  # cleaned first, as podman does
        (b"/dir/file/x", None),
        (b"/nothing", None),
    ],
)
def test_links_are_followed_inside_the_tree(tree: Tree, path: bytes, found: bytes | None) -> None:
    at = look_up(tree, path)
    if found is None:
        assert at is None
    else:
        assert at == (tree.lookup(found), found.rpartition(b"/")[2])


def test_links_without_end_are_an_error(tree: Tree) -> None:
    with pytest.raises(CopyError, match="too many levels"):
        look_up(tree, b"/loop")


def test_tree_comes_out_whole(tree: Tree, tmp_path: Path) -> None:
    found = look_up(tree, b"dir")
    assert found is not None
    assert [content.size for content in contents(tree, found[0])] == [7000]
    put(TreeSource(tree, *found, read).items(b"copy"), tmp_path)
    copy = tmp_path / "copy"
    assert (copy / "same").read_bytes() == b"content" * 1000
    assert (copy / "same").stat().st_ino == (copy / "file").stat().st_ino
    assert (copy / "up").readlink() == Path("../dir/file")
    assert copy.stat().st_mtime == 1_600_000_000
    assert (copy / "file").stat().st_mode & 0o7777 == 0o640


def test_directory_to_tar_and_back(tmp_path: Path) -> None:
    put(tar_items(io.BytesIO(TREE)), tmp_path)
    source = FileSource(os.open(tmp_path, os.O_RDONLY))
    out = io.BytesIO()
    write_tar((item for item in source.items(b"") if item.entry.path), out)
    source.close()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        names = {member.name: member for member in tar}
    assert set(names) == {name.removeprefix("./") for name in tarfile_names(TREE)}
    assert names["dir/same"].islnk()
    assert names["lib"].linkname == "/usr/../../../usr/./lib"


def tarfile_names(blob: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        return tar.getnames()


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/../out"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(CopyError, match="leads out"):
        put(tar_items(io.BytesIO(archive((name, tarfile.REGTYPE, b"x")))), tmp_path / "in")
    assert not (tmp_path / "out").exists()


def test_parents_that_an_archive_lacks_are_made(tmp_path: Path) -> None:
    put(tar_items(io.BytesIO(archive(("a/b/c", tarfile.REGTYPE, b"x")))), tmp_path)
    assert (tmp_path / "a/b/c").read_bytes() == b"x"


@pytest.mark.parametrize("blob", [b"no archive", TREE[:900], b"\x1f\x8b\x08garbage"])
def test_other_bytes_are_one_error(blob: bytes, tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="no tar archive"):
        put(tar_items(io.BytesIO(blob)), tmp_path)
    assert not any(path.name.startswith(".imagefs-") for path in tmp_path.rglob("*"))


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def breaks() -> Iterator[bytes]:
        yield b"new"
        raise CopyError("gone")

    entry = Entry(b"file", 0o100000, 0o600, os.getuid(), os.getgid(), 6)
    with pytest.raises(CopyError, match="gone"):
        put(iter([Item(entry, breaks())]), tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_kinds_give_way_only_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "dir").write_text("in the way")
    (tmp_path / "lib/full").mkdir(parents=True)
    with pytest.raises(CopyError, match="dir: there is no directory"):
        put(tar_items(io.BytesIO(TREE)), tmp_path)
    put(tar_items(io.BytesIO(TREE)), tmp_path, overwrite=True)
    assert (tmp_path / "dir/file").is_file()
    assert (tmp_path / "lib").is_symlink()
