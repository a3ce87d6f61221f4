"""diff and commit: what an upper changes, as lines and as a layer."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from imagefs.formats.index import Entry
from imagefs.testing.overlayfs import engine_on
from imagefs.testing.upper_ops import Operation, apply, operation_lists, small_tree
from imagefs.testing.uppers import EngineDir, data_of, dump
from imagefs.tree import Content, Tree
from imagefs.tree.file import encode
from imagefs.tree.merge import merge
from imagefs.upper import Caller, Engine, Stat, UpperDir
from imagefs.upper.changes import LayerDiff, changes
from imagefs.upper.load import UpperError
from imagefs.upper.userdialect import UserDialect

DIFFS: dict[str, tuple[list[Operation], list[str]]] = {
    "nothing": ([], []),
    "a new file": ([("create", b"d/n", 0o644)], ["C d", "A d/n"]),
    "a new tree": ([("mkdir", b"n", 0o755), ("mkdir", b"n/m", 0o755)], ["A n", "A n/m"]),
    "a deleted file": ([("unlink", b"t")], ["D t"]),
    "a deleted directory": ([("rmdir", b"e/empty")], ["C e", "D e/empty"]),
    "a deep change": ([("chmod", b"d/sub/x", 0o600)], ["C d", "C d/sub", "C d/sub/x"]),
    "every name of a changed file": (
        [("chmod", b"d/f", 0o600)],
        ["C d", "C d/f", "C d/g", "C e", "C e/h"],
    ),
    "a change that was taken back": ([("chmod", b"t", 0o644), ("chmod", b"t", 0o600)], []),
    "a file that came and went": ([("create", b"n", 0o600), ("unlink", b"n")], []),
    "a moved directory": (
        [("rename", b"e", b"n")],
        ["D e", "A n", "A n/empty", "A n/h"],
    ),
    "a directory replaced by an empty one": (
        [("rename", b"d/sub", b"n"), ("mkdir", b"d/sub", 0o755)],
        ["C d", "C d/sub", "D d/sub/x", "A n", "A n/x"],
    ),
    "a file replaced by a directory": (
        [("unlink", b"t"), ("mkdir", b"t", 0o755)],
        ["C t"],
    ),
    "a new name of an untouched file": ([("link", b"t", b"n")], ["A n"]),
}


@pytest.mark.parametrize("name", DIFFS)
def test_diff_tells(name: str, tmp_path: Path) -> None:
    operations, expected = DIFFS[name]
    tree = small_tree(os.getuid(), os.getgid())
    with engine_on(tree, tmp_path, UserDialect()) as engine:
        for operation in operations:
            assert apply(operation, engine) == 0, operation
        upper = UpperDir(tmp_path / "upper", tmp_path / "work")
        lines = [f"{kind} {path.decode()}" for kind, path in changes(tree, upper, UserDialect())]
        upper.close()
    assert lines == expected


class Committed:
    """A tree of two layers whose second came out of an upper, and its data."""

    def __init__(self, tree: Tree, lower: list[Entry], diff: LayerDiff) -> None:
        self.data: dict[int, bytes] = {}
        layer = []
        for number, (entry, ino) in enumerate(diff.entries()):
            if ino:
                source = diff.open(ino)
                if isinstance(source, Content):
                    self.data[number * 4096] = data_of(source)
                else:
                    self.data[number * 4096] = os.pread(source, entry.size + 1, 0)
                    os.close(source)
            fields = {n: getattr(entry, n) for n in entry.__struct_fields__}
            layer.append(Entry(**{**fields, "data_offset": number * 4096}))
        self.layer = layer
        self.tree = Tree.open(encode(merge([lower, layer]), 2))


class CommittedDir(EngineDir):
    def __init__(self, committed: Committed) -> None:
        super().__init__(Engine(committed.tree), Caller(0, 0, 0, 0))
        self.committed = committed

    def read_ino(self, ino: int) -> bytes:
        content = self.engine.lower_content(ino)
        if content is None:
            return b""
        return self.committed.data[content.offset] if content.layer else data_of(content)


def entries_of(tree: Tree) -> list[Entry]:
    """A tree as one layer."""
    rows: list[Entry] = []
    first: dict[int, bytes] = {}
    for path, ino in tree.walk():
        a = tree.attr(ino)
        content = tree.content(ino)
        if ino in first and a.kind != stat.S_IFDIR:
            rows.append(Entry(path, 0, 0, link=first[ino]))
            continue
        first[ino] = path
        offset = content.offset if content else 0
        rows.append(
            Entry(
                path, a.kind, a.mode, a.uid, a.gid, a.size if content else 0, a.mtime_ns,
                tree.readlink(ino), 0, 0, tuple(tree.xattrs(ino).items()), offset,
            )
        )  # fmt: skip
    return rows


@given(operation_lists)
@example([("rename", b"d", b"n"), ("mkdir", b"d", 0o755), ("rename", b"n", b"d/n")])
@example([("link", b"t", b"n"), ("unlink", b"t"), ("mkdir", b"t", 0o755)])
@example([("unlink", b"d/sub/x"), ("rmdir", b"d/sub"), ("symlink", b"d/sub", b"nowhere")])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_layer_on_top_of_the_tree_is_what_the_mount_showed(ops: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as text:
        where, tree = Path(text), small_tree(os.getuid(), os.getgid())
        with engine_on(tree, where, UserDialect()) as engine:
            for operation in ops:
                apply(operation, engine)
            expected = dump(engine)
        upper = UpperDir(where / "upper", where / "work")
        before = sorted(os.walk(where))
        with LayerDiff(tree, upper, UserDialect()) as diff:
            committed = Committed(tree, entries_of(tree), diff)
        with LayerDiff(tree, upper, UserDialect()) as again:
            assert [row.entry for row in again.entries()] == [
                Entry(**{**{n: getattr(e, n) for n in e.__struct_fields__}, "data_offset": 0})
                for e in committed.layer
            ]
        upper.close()
        assert sorted(os.walk(where)) == before
        assert dump(CommittedDir(committed)) == expected


def test_what_layers_cannot_hold_is_left_out_with_a_warning(tmp_path: Path) -> None:
    tree = small_tree(os.getuid(), os.getgid())
    with engine_on(tree, tmp_path, UserDialect()) as engine:
        engine.mknod(b"n", stat.S_IFSOCK | 0o600)
        engine.mkdir(b"e/.wh.x", 0o755)
        engine.create(b"e/.wh.x/f", 0o600)
    upper = UpperDir(tmp_path / "upper", tmp_path / "work")
    with LayerDiff(tree, upper, UserDialect()) as diff:
        paths = [row.entry.path for row in diff.entries()]
    upper.close()
    assert paths == [b"", b"e"]
    assert diff.warnings == [
        "e/.wh.x: left out: in a layer this name means a deletion",
        "e/.wh.x/f: left out: in a layer this name means a deletion",
        "n: left out: layers hold no sockets",
    ]


def test_names_that_no_tar_can_hold_are_left_out_with_a_warning(tmp_path: Path) -> None:
    tree = small_tree(os.getuid(), os.getgid())
    with engine_on(tree, tmp_path, UserDialect()) as engine:
        engine.setxattr(b"t", b"user.a=b", b"c")
        ino, caller = engine.ino(b"e"), engine.caller
        for _ in range(21):
            ino = engine.engine.mkdir(ino, b"n" * 200, 0o755, caller).ino
    upper = UpperDir(tmp_path / "upper", tmp_path / "work")
    with LayerDiff(tree, upper, UserDialect()) as diff:
        entries = {row.entry.path: row.entry for row in diff.entries()}
    upper.close()
    assert dict(entries[b"t"].xattrs) == {}
    assert len(entries) == 2 + 20
    long, named = diff.warnings
    assert long.endswith("n: left out: no layer can hold a path of that length")
    assert named == "t: xattr user.a=b: left out: no tar can hold that name"


class Vanishing(UserDialect):
    """An upper in which a name goes between the listing and the look at it."""

    def stat(self, dir_fd: int, name: bytes) -> Stat:
        if name == b"gone":
            raise FileNotFoundError(errno.ENOENT, "gone")
        return super().stat(dir_fd, name)


def test_a_diff_of_a_live_upper_bears_with_names_that_go(tmp_path: Path) -> None:
    tree = small_tree(os.getuid(), os.getgid())
    with engine_on(tree, tmp_path, UserDialect()) as engine:
        engine.create(b"e/gone", 0o600)
        engine.create(b"e/n", 0o600)
        upper = UpperDir(tmp_path / "upper", tmp_path / "work")
        lines = [f"{kind} {path.decode()}" for kind, path in changes(tree, upper, Vanishing())]
        with pytest.raises(UpperError, match="someone else"):
            Engine(tree, upper, dialect=Vanishing()).begin()
        upper.close()
    assert lines == ["C e", "A e/n"]
