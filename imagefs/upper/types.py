"""The values that go in and out of the copy-on-write engine; they hold no state and open nothing.

Times are int nanoseconds, names and xattr names are bytes, failures are plain `OSError`s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from imagefs.tree import Content

BORN = 1 << 48
"""Objects born in the upper are BORN + st_ino of the backing object; the tree's are below."""

NOREPLACE = 1
EXCHANGE = 2


class Stat(NamedTuple):
    """What stat(2) tells. `mode` has the type bits; `blocks` counts 512 bytes."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    blksize: int
    blocks: int


class Caller(NamedTuple):
    """Who asks: `pid` is the thread id of the FUSE request header, the key of the journal."""

    pid: int
    uid: int
    gid: int
    umask: int


@dataclass(frozen=True, slots=True)
class SetAttr:
    """What to change; None leaves it. `mode` has permission bits only (07777)."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class Squash(NamedTuple):
    """Show every object as this owner's. What is made under it is stored as root's (0:0)."""

    uid: int
    gid: int


class DirEntry(NamedTuple):
    """One name of a directory. `cookie` continues the listing after it; never 0."""

    name: bytes
    stat: Stat
    cookie: int


class CopyUp(Protocol):
    """The copying of one file's data from the layers to the upper.

    Readers see the lower data until `commit`. Two for one file may run at once: the first commit
    wins, what the other writes afterwards is ignored.
    """

    content: Content

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put lower bytes in place; what is never written is zeros. No effect on committed data."""

    def cut(self, size: int) -> None:
        """Make the file `size` bytes long, for a truncation that needs no more of its data."""

    def sync(self) -> None:
        """Make what was written durable (slow; the one call that may run in a worker thread)."""

    def commit(self) -> None:
        """From now on the data is the upper's. One atomic step; idempotent."""

    def abort(self) -> None:
        """Give up; the data stays lower. Idempotent, and nothing after `commit`."""
