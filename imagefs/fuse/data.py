"""File data: reads from the upper or the layers, and copy-up before the first change. Knows no
pyfuse3.

What may wait is a read of bytes that are not here yet, a copy-up (which reads all of a file) and
what reaches the disk; everything else is answered at once, without a checkpoint.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from imagefs.fuse.reader import ContentReader
from imagefs.system.mounts import syncfs
from imagefs.upper import CopyUp, Engine

PIECE = 4 << 20  # of a copy-up: what is asked for at once


class FileData:
    """The data of the files of one engine; handles are inode numbers."""

    def __init__(self, engine: Engine, reader: ContentReader, upper: Path | None) -> None:
        self._engine = engine
        self._reader = reader
        self._upper = upper
        self._copying: dict[int, trio.Lock] = {}

    async def read(self, ino: int, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        fd = self._engine.data_fd(ino)
        if fd is not None:
            return os.pread(fd, size, offset)
        content = self._engine.lower_content(ino)
        length = min(size, content.size - offset) if content else 0
        if content is None or length <= 0:
            return b""
        data = self._reader.pread_nowait(content.layer, content.offset + offset, length)
        if data is None:
            data = await self._reader.pread(content.layer, content.offset + offset, length)
        return data

    async def write(self, ino: int, offset: int, data: bytes) -> int:
        """Write all of `data` at `offset`: the kernel's, for O_APPEND too, so twice is as once."""
        fd = await self._upper_fd(ino)
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, data[done:], offset + done)
        return done

    async def _upper_fd(self, ino: int) -> int:
        fd = self._engine.data_fd(ino)
        if fd is None:
            await self.bring_up(ino)
            fd = self._engine.data_fd(ino)
        if fd is None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return fd

    async def bring_up(self, ino: int, size: int | None = None) -> None:
        """Have the data (its first `size` bytes) in the upper."""
        if self._engine.data_fd(ino) is not None:
            return
        async with self._alone(ino):
            copy = self._engine.copy_up(ino)
            if copy is None:
                return
            try:
                await self._fill(copy, size)
                copy.commit()
            except BaseException:
                copy.abort()
                raise

    @asynccontextmanager
    async def _alone(self, ino: int) -> AsyncIterator[None]:
        lock = self._copying.setdefault(ino, trio.Lock())
        async with lock:
            try:
                yield
            finally:
                if not lock.statistics().tasks_waiting:
                    self._copying.pop(ino, None)

    async def _fill(self, copy: CopyUp, size: int | None) -> None:
        content = copy.content
        end = content.size if size is None else min(size, content.size)
        for offset in range(0, end, PIECE):
            length = min(PIECE, end - offset)
            place = content.offset + offset
            data = self._reader.pread_nowait(content.layer, place, length)
            if data is None:
                data = await self._reader.pread(content.layer, place, length)
            copy.write(offset, data)
        if end < content.size:
            copy.cut(end)
        if end:
            await trio.to_thread.run_sync(copy.sync)

    async def truncate(self, ino: int, size: int) -> None:
        """Prepare a change of size: lower data that stays is brought up, the rest is never read."""
        if size == 0:
            self._engine.truncate_up(ino)
        else:
            await self.bring_up(ino, size)

    async def sync(self, ino: int, datasync: bool) -> None:
        """fsync(2); data that is still lower has nothing to lose."""
        fd = self._engine.data_fd(ino)
        if fd is None:
            return
        fd = os.dup(fd)
        try:
            await trio.to_thread.run_sync(os.fdatasync if datasync else os.fsync, fd)
        finally:
            os.close(fd)

    async def sync_names(self) -> None:
        """Have all names of the upper on disk."""
        if self._upper is not None:
            await trio.to_thread.run_sync(syncfs, self._upper)
