"""Random operations on a small tree, for tests of the copy-on-write engine. Opens nothing itself.

An operation is a method name of `EngineDir` and `PlainDir` with its arguments.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from hypothesis import strategies as st

from imagefs.formats.index import Entry
from imagefs.system.renames import EXCHANGE, NOREPLACE
from imagefs.testing.uppers import OLD, EngineDir, PlainDir, lower_tree
from imagefs.tree import Tree

Operation = tuple[Any, ...]

D, F, L, P = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO
_XATTR = ((b"user.k", b"v"),)

PATHS = [
    b"d", b"d/f", b"d/g", b"d/s", b"d/sub", b"d/sub/x", b"d/n", b"d/sub/n",
    b"e", b"e/h", b"e/empty", b"e/n", b"t", b"p", b"z", b"n", b"n/m", b"n/f",
]  # fmt: skip


def small_tree(uid: int, gid: int) -> Tree:
    """Directories, hard links across them, a symlink, a FIFO, an empty file; all one owner's."""

    def entry(path: bytes, kind: int, mode: int, **more: Any) -> Entry:
        return Entry(path=path, kind=kind, mode=mode, uid=uid, gid=gid, **more)

    return lower_tree(
        [
            entry(b"", D, 0o755, mtime_ns=OLD),
            entry(b"d", D, 0o755, mtime_ns=OLD + 1, xattrs=_XATTR),
            entry(b"d/f", F, 0o644, size=5000, mtime_ns=OLD + 2, xattrs=_XATTR),
            entry(b"d/g", 0, 0, link=b"d/f"),
            entry(b"d/s", L, 0o777, link=b"f", mtime_ns=OLD + 3),
            entry(b"d/sub", D, 0o2775, mtime_ns=OLD + 4),
            entry(b"d/sub/x", F, 0o755, size=100, mtime_ns=OLD + 5),
            entry(b"e", D, 0o700, mtime_ns=OLD + 6),
            entry(b"e/h", 0, 0, link=b"d/f"),
            entry(b"e/empty", D, 0o755, mtime_ns=OLD + 7),
            entry(b"t", F, 0o600, size=9000, mtime_ns=OLD + 8),
            entry(b"p", P, 0o600, mtime_ns=OLD + 9),
            entry(b"z", F, 0o644, mtime_ns=OLD + 10),
        ]
    )


_path = st.sampled_from(PATHS)
_mode = st.sampled_from([0o755, 0o750, 0o1770])
_key = st.sampled_from([b"user.k", b"user.l"])

operations = st.one_of(
    st.tuples(st.just("mkdir"), _path, _mode),
    st.tuples(st.just("mknod"), _path, st.just(P | 0o640)),
    st.tuples(st.just("symlink"), _path, st.sampled_from([b"d/f", b"nowhere"])),
    st.tuples(st.just("create"), _path, st.sampled_from([0o644, 0o755])),
    st.tuples(st.just("link"), _path, _path),
    st.tuples(st.just("unlink"), _path),
    st.tuples(st.just("unlink"), _path),
    st.tuples(st.just("rmdir"), _path),
    st.tuples(st.just("rename"), _path, _path),
    st.tuples(st.just("rename"), _path, _path, st.sampled_from([0, NOREPLACE, EXCHANGE])),
    st.tuples(st.just("chmod"), _path, _mode),
    st.tuples(st.just("utime"), _path, st.just(OLD + 77)),
    st.tuples(st.just("setxattr"), _path, _key, st.sampled_from([b"1", b"2"])),
    st.tuples(st.just("removexattr"), _path, _key),
    st.tuples(st.just("write"), _path, st.sampled_from([0, 4990, 12000]), st.just(b"new data")),
    st.tuples(st.just("truncate"), _path, st.sampled_from([0, 50, 6000])),
)  # fmt: skip
operation_lists = st.lists(operations, min_size=1, max_size=10)

_FILES_ONLY = ("write", "truncate")
_NO_SYMLINKS = ("chmod", "setxattr", "removexattr")


def _kind(directory: EngineDir | PlainDir, path: bytes) -> int:
    found = directory.lstat(path)
    return stat.S_IFMT(found.st_mode if isinstance(found, os.stat_result) else found.mode)


def _through_symlink(directory: EngineDir | PlainDir, path: bytes) -> bool:
    parts = path.split(b"/")
    for end in range(1, len(parts)):
        try:
            if _kind(directory, b"/".join(parts[:end])) == L:
                return True
        except OSError:
            return False
    return False


def apply(operation: Operation, directory: EngineDir | PlainDir) -> int:
    """The errno, 0 for success; -1 where the kernel would never ask for it."""
    name, path, *args = operation
    paths = [path, *args[:1]] if name in ("link", "rename") else [path]
    if any(_through_symlink(directory, each) for each in paths):
        return -1
    try:
        if name in _FILES_ONLY + _NO_SYMLINKS:
            kind = _kind(directory, path)
            if kind != F and (name in _FILES_ONLY or kind != D):
                return -1
        getattr(directory, name)(path, *args)
    except OSError as error:
        return error.errno or 0
    return 0
