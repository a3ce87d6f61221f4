"""Signatures of the engine (its bodies follow); see contracts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from imagefs.tree import Content, Tree
from imagefs.upper.journal import Journal
from imagefs.upper.types import Caller, CopyUp, DirEntry, SetAttr, Squash, Stat
from imagefs.upper.upperdir import UpperDir


class Engine:
    """One mounted tree: lower objects from `tree`, changes in `upper` (None: read-only, EROFS)."""

    def __init__(
        self,
        tree: Tree,
        upper: UpperDir | None = None,
        journal: Journal | None = None,
        squash: Squash | None = None,
    ) -> None: ...

    def begin(self) -> None:
        """Start a fresh mount: orphans and intents of an earlier one are dropped. Call this or
        `resume` once before serving."""
        ...

    def resume(self, resent: Mapping[int, int], forgets: Iterable[tuple[int, int]]) -> None:
        """Take over from a dead server. `resent` maps thread id to the FUSE opcode it waits for
        again; `forgets` are the (ino, count) read while draining."""
        ...

    def close(self) -> None: ...

    def lookup(self, parent: int, name: bytes) -> Stat:
        """ENOENT, ENOTDIR, ENAMETOOLONG."""
        ...

    def parent(self, ino: int) -> int:
        """The directory that holds the directory `ino` (the root's is itself)."""
        ...

    def getattr(self, ino: int) -> Stat: ...

    def setattr(self, ino: int, change: SetAttr, caller: Caller) -> Stat:
        """A `size` other than 0 needs the data in the upper first (see `copy_up`): EINVAL else."""
        ...

    def readlink(self, ino: int) -> bytes: ...

    def readdir(self, ino: int, after: int = 0) -> Iterator[DirEntry]:
        """Names after cookie `after`, without "." and "..", in order of their cookies."""
        ...

    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Stat: ...

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Stat: ...

    def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Stat: ...

    def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> Stat:
        """open(2) with O_CREAT: an existing file is returned unless `flags` has O_EXCL (O_TRUNC
        is the caller's: `truncate_up`)."""
        ...

    def link(self, ino: int, parent: int, name: bytes, caller: Caller) -> Stat: ...

    def unlink(self, parent: int, name: bytes, caller: Caller) -> None: ...

    def rmdir(self, parent: int, name: bytes, caller: Caller) -> None: ...

    def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
        caller: Caller,
    ) -> None: ...

    def getxattr(self, ino: int, name: bytes, caller: Caller) -> bytes:
        """ENODATA. (The caller matters: a resent XATTR_CREATE is told ENODATA.)"""
        ...

    def setxattr(self, ino: int, name: bytes, value: bytes, caller: Caller) -> None: ...

    def removexattr(self, ino: int, name: bytes, caller: Caller) -> None: ...

    def listxattr(self, ino: int) -> list[bytes]: ...

    def statvfs(self) -> os.statvfs_result: ...

    def forget(self, items: Iterable[tuple[int, int]]) -> None: ...

    def data_fd(self, ino: int) -> int | None:
        """A cached O_RDWR descriptor of the upper file that holds the data; None: data is lower
        (`lower_content`). Valid until the next call of the engine: dup it for a thread."""
        ...

    def lower_content(self, ino: int) -> Content | None:
        """Where the lower data lies; None: there is none (empty file, or `data_fd` has it)."""
        ...

    def copy_up(self, ino: int) -> CopyUp | None:
        """Begin to bring the data up; None: it is there already. For a truncation to N bytes it is
        enough to write the first N."""
        ...

    def truncate_up(self, ino: int) -> None:
        """Make the file empty, with its data in the upper; nothing is copied."""
        ...


# Journal: `Journal(path, enabled=True)`; `journal.after_reply()` frees what was answered (call it in the
# trio Instrument's after_task_step); `journal.answered` is that list.
# UpperDir: `UpperDir(upper: Path, work: Path)`; makes both if absent.
