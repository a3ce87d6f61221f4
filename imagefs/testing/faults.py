"""Makes the Nth change to a disk fail, or the process "die" there. For tests of the upper only.

A death is an exception after which no further change reaches the disk or the journal, whatever
cleaning up is tried on the way out: what is left is what `kill -9` leaves.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from imagefs.testing.upper_ops import Operation
from imagefs.upper import backing, copyup, moves, names
from imagefs.upper.journal import Journal

_CALLS = [
    "chmod", "chown", "ftruncate", "link", "mkdir", "mknod", "open", "pwrite", "removexattr",
    "rmdir", "setxattr", "symlink", "truncate", "unlink", "utime", "write",
]  # fmt: skip


class Death(BaseException):
    """The server was killed."""


class Faults:
    """Counts changes; the one numbered `at` (from 0) does not happen."""

    def __init__(self, at: int, kill: bool) -> None:
        self.at = at
        self.kill = kill
        self.count = 0
        self.dead = False

    def wrap(self, call: Callable[..., Any], may_fail: bool = True) -> Callable[..., Any]:
        """`call` with the fault in it."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if call is _open and not args[1] & os.O_CREAT:
                return call(*args, **kwargs)
            if may_fail and (self.kill or call is not _utime):  # as it never fails alone
                self.count += 1
                if self.count == self.at + 1:
                    self.dead = self.kill
                    if not self.kill:
                        raise OSError(errno.ENOSPC, "injected")
            if self.dead:
                raise Death
            return call(*args, **kwargs)

        return wrapped


_open = os.open
_utime = os.utime


@contextmanager
def faults(at: int, kill: bool) -> Iterator[Faults]:
    """Everything the engine changes inside goes through a `Faults`."""
    made = Faults(at, kill)
    places: list[tuple[Any, str]] = [(os, name) for name in _CALLS]
    places += [(module, "renameat2") for module in (backing, copyup, moves, names)]
    saved = [(place, name, getattr(place, name)) for place, name in places]
    journal: list[tuple[Any, str, Any]] = [
        (Journal, name, getattr(Journal, name)) for name in ("intend", "clear")
    ]
    try:
        for place, name, call in saved:
            setattr(place, name, made.wrap(call))
        for place, name, call in journal:
            setattr(place, name, made.wrap(call, may_fail=False))
        yield made
    finally:
        for place, name, call in saved + journal:
            setattr(place, name, call)


SCENARIOS: dict[str, tuple[list[Operation], Operation]] = {
    "new directory": ([], ("mkdir", b"d/n", 0o755)),
    "new directory over a whiteout": ([("rmdir", b"e/empty")], ("mkdir", b"e/empty", 0o755)),
    "new file over a whiteout": ([("unlink", b"t")], ("create", b"t", 0o644)),
    "new FIFO": ([], ("mknod", b"d/sub/n", 0o010600)),
    "new symlink": ([], ("symlink", b"e/n", b"nowhere")),
    "new name of a lower file": ([], ("link", b"d/f", b"e/n")),
    "new name over a whiteout": ([("unlink", b"t")], ("link", b"d/sub/x", b"t")),
    "mode of a file with three names": ([], ("chmod", b"d/g", 0o600)),
    "times of a deep file": ([], ("utime", b"d/sub/x", 1_600_000_000_000_000_077)),
    "xattr of a lower file": ([], ("setxattr", b"t", b"user.k", b"1")),
    "xattr that goes": ([], ("removexattr", b"d/f", b"user.k")),
    "data of a file with three names": ([], ("write", b"e/h", 10, b"new")),
    "data behind a metacopy": ([("chmod", b"t", 0o640)], ("write", b"t", 10, b"new")),
    "truncated lower file": ([], ("truncate", b"t", 0)),
    "truncated metacopy": ([("chmod", b"t", 0o640)], ("truncate", b"t", 0)),
    "shortened lower file": ([], ("truncate", b"t", 50)),
    "unlinked lower file": ([], ("unlink", b"d/sub/x")),
    "unlinked name of three": ([], ("unlink", b"e/h")),
    "unlinked upper file": ([("create", b"n", 0o600)], ("unlink", b"n")),
    "unlinked upper file over a lower one": ([("chmod", b"t", 0o640)], ("unlink", b"t")),
    "unlinked upper name of three": ([("chmod", b"d/f", 0o640)], ("unlink", b"d/g")),
    "removed lower directory": ([], ("rmdir", b"e/empty")),
    "removed upper directory": ([("mkdir", b"n", 0o755)], ("rmdir", b"n")),
    "removed directory with whiteouts": ([("unlink", b"d/sub/x")], ("rmdir", b"d/sub")),
    "renamed lower file": ([], ("rename", b"d/sub/x", b"n")),
    "renamed name of three": ([], ("rename", b"d/g", b"d/n")),
    "renamed lower directory": ([], ("rename", b"d", b"n")),
    "renamed onto an upper file": ([("create", b"n", 0o600)], ("rename", b"t", b"n")),
    "renamed onto a lower file": ([], ("rename", b"t", b"d/sub/x")),
    "renamed onto a whiteout": ([("unlink", b"t")], ("rename", b"z", b"t")),
    "renamed directory onto a whiteout": ([("unlink", b"t")], ("rename", b"e", b"t")),
    "renamed upper directory onto a whiteout": (
        [("unlink", b"t"), ("mkdir", b"n", 0o755)],
        ("rename", b"n", b"t"),
    ),
    "renamed onto an upper directory": (
        [("mkdir", b"n", 0o755), ("mkdir", b"m", 0o700)],
        ("rename", b"n", b"m"),
    ),
    "renamed lower directory onto an upper one": (
        [("mkdir", b"m", 0o700)],
        ("rename", b"e", b"m"),
    ),
    "renamed onto a directory with whiteouts": (
        [("unlink", b"d/sub/x")],
        ("rename", b"e", b"d/sub"),
    ),
    "exchanged file and directory": ([], ("rename", b"t", b"d/sub", 2)),
    "exchanged lower files": ([], ("rename", b"t", b"d/sub/x", 2)),
}
"""Operations worth breaking, on `small_tree`: what comes before, and the one that is broken."""
