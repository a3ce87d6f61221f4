"""A tree as values to compare: all that an image can say of a file. Changes nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One name; `data` is a file's digest, a link's target or a device's number.

    `same` is the first name of the same inode, its own where it has no other.
    """

    mode: int
    uid: int
    gid: int
    data: str
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    same: str


Snapshot = dict[str, Row]


def snapshot(root: Path) -> Snapshot:
    """Every name below `root`, and the root itself as `.`."""
    rows: Snapshot = {}
    first: dict[int, str] = {}
    todo = ["."]
    while todo:
        name = todo.pop()
        path = os.path.normpath(root / name)
        found = os.lstat(path)
        same = name if stat.S_ISDIR(found.st_mode) else first.setdefault(found.st_ino, name)
        rows[name] = Row(
            found.st_mode,
            found.st_uid,
            found.st_gid,
            _data(path, found),
            found.st_mtime_ns,
            _xattrs(path),
            same,
        )
        if stat.S_ISDIR(found.st_mode):
            names = sorted(below.name for below in os.scandir(path))
            todo += [f"{name}/{below}" for below in reversed(names)]
    return rows


def without_times(tree: Snapshot) -> Snapshot:
    """The same without what differs when the same is done twice."""
    return {name: row._replace(mtime_ns=0) for name, row in tree.items()}


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """A line for each name that is not in both alike; none for equal trees."""
    lines = []
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            lines.append(f"{name}: {one.get(name)} / {other.get(name)}")
    return lines


def _data(path: str, found: os.stat_result) -> str:
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if stat.S_ISLNK(found.st_mode):
        return str(Path(path).readlink())
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def _xattrs(path: str) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (key, os.getxattr(path, key, follow_symlinks=False))
        for key in sorted(os.listxattr(path, follow_symlinks=False))
    )
