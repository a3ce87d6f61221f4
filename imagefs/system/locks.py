"""Locks between processes that the kernel frees when their holder dies. Never waits unasked.

Two kinds, which do not see each other even on one file:

- `FileLock`: flock(2) on a whole file or directory, shared or exclusive;
- `RangeLock`: open file description locks, fcntl(2) F_OFD_SETLK, on single bytes.

Both belong to the open file description, so two locks in one process exclude each other as those of
two processes do. Descriptors are close-on-exec; a child of a bare fork shares its parent's locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_BUSY = (errno.EAGAIN, errno.EACCES)
# struct flock of <fcntl.h>, 64-bit offsets: type, whence, start, length, pid (0 for OFD locks).
_FLOCK = struct.Struct("hhqqi0q")


class _Held:
    """A descriptor that is closed once: by `release`, by the end of `with`, or with the object."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._closer = weakref.finalize(self, os.close, fd)

    @property
    def held(self) -> bool:
        return self._closer.alive

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        self._closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class FileLock(_Held):
    """A flock on the file or directory that `path` names now; made by `lock_path`."""

    def __init__(self, fd: int, path: Path) -> None:
        super().__init__(fd)
        self.path = path

    def try_exclusive(self) -> bool:
        """Make a shared lock exclusive if nobody else holds one; else it is shared as before.

        flock converts by giving up first, so another process may have had it in between.
        """
        if _flock(self.fd, exclusive=True, wait=False):
            return True
        _flock(self.fd, exclusive=False, wait=True)
        return False

    def share(self) -> None:
        """Make an exclusive lock shared."""
        _flock(self.fd, exclusive=False, wait=True)


def lock_path(
    path: Path, *, exclusive: bool = True, wait: bool = True, create: bool = False
) -> FileLock | None:
    """Lock what `path` names, and be sure that it still names it once the lock is held.

    None: somebody else holds it and not `wait`, or there is no such file and not `create`.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
        try:
            fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            if create:
                raise
            return None
        lock = FileLock(fd, path)
        if not _flock(fd, exclusive=exclusive, wait=wait):
            lock.release()
            return None
        if _names(path, fd):
            return lock
        lock.release()
        if not create:
            return None


def _names(path: Path, fd: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _flock(fd: int, *, exclusive: bool, wait: bool) -> bool:
    operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


class RangeLock(_Held):
    """Exclusive locks on single bytes of a file; made by `lock_bytes`, all freed together."""


def lock_bytes(path: Path, places: Iterable[int], *, wait: bool = False) -> RangeLock | None:
    """Lock the bytes at `places` of the file at `path`, which need not be so long: all or none.

    None: somebody else holds one of them and not `wait`. Bytes are locked in ascending order, so
    callers that wait and hold no other range lock cannot block each other for ever.
    """
    lock = RangeLock(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    for start, length in _runs(places):
        try:
            fcntl.fcntl(lock.fd, command, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
        except OSError as error:
            lock.release()
            if error.errno in _BUSY:
                return None
            raise
    return lock


def _runs(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Neighbours joined: (start, length), ascending."""
    start = stop = -1
    for place in sorted(set(places)):
        if place != stop:
            if stop > start:
                yield start, stop - start
            start = place
        stop = place + 1
    if stop > start:
        yield start, stop - start
