"""A disk whose Nth change fails, or kills the process there. For tests of the store only."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

from imagefs.system.atomic import Data, Disk


class FailingDisk(Disk):
    """Counts changes; those from number `at` (from 0) on raise ENOSPC, or the first kills us.

    A failing write has written half of its data.
    """

    def __init__(self, at: int, *, kill: bool = False) -> None:
        super().__init__(durable=False)
        self.at = at
        self.kill = kill
        self.count = 0

    @property
    def reached(self) -> bool:
        """Whether a change failed."""
        return self.count > self.at

    def create(self, path: Path, mode: int = 0o600) -> int:
        """See Disk."""
        self._change()
        return super().create(path, mode)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        """See Disk."""
        self._change()
        super().mkdir(path, mode)

    def write(self, fd: int, data: Data) -> None:
        """See Disk."""
        if self.count == self.at:
            os.write(fd, bytes(data)[: len(data) // 2])
        self._change()
        super().write(fd, data)

    def pwrite(self, fd: int, data: Data, offset: int) -> None:
        """See Disk."""
        if self.count == self.at:
            os.pwrite(fd, bytes(data)[: len(data) // 2], offset)
        self._change()
        super().pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        """See Disk."""
        self._change()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        """See Disk."""
        self._change()
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """See Disk; the second fault comes after the rename."""
        self._change()
        source.rename(target)
        self._change()

    def _change(self) -> None:
        self.count += 1
        if self.count > self.at:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
