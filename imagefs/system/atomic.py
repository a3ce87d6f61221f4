"""Files that appear whole or not at all, and the seam for all that changes a disk. Reads nothing.

`Disk` holds the calls by which the store changes files, so that a test can make the Nth one fail.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

Data = bytes | bytearray | memoryview


class Disk:
    """The calls that change files, each done in full or raising OSError.

    `durable` False leaves out what only matters when the power fails; tests use it.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable

    def create(self, path: Path, mode: int = 0o600) -> int:
        """A new file, open for reading and writing; raises FileExistsError."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        """A new directory; raises FileExistsError."""
        path.mkdir(mode)

    def write(self, fd: int, data: Data) -> None:
        """All of `data` at the file's position."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[os.write(fd, view) :]

    def pwrite(self, fd: int, data: Data, offset: int) -> None:
        """All of `data` at `offset`."""
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size`, or let it grow by a hole."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """What was written to `fd` survives a power failure from here on."""
        if self.durable:
            os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """`target` becomes `source` in one step, and durably so once this returns."""
        source.rename(target)
        self.sync_directory(target.parent)

    def sync_directory(self, path: Path) -> None:
        """The names in `path` survive a power failure from here on."""
        if not self.durable:
            return
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, path: Path) -> None:
        """Remove a file; no error where there is none."""
        path.unlink(missing_ok=True)


def replace_file(disk: Disk, temporary: Path, target: Path, data: Data, mode: int = 0o600) -> None:
    """`target` holds `data` or what it held before, whatever happens; `temporary` is gone after."""
    try:
        fd = disk.create(temporary, mode)
        try:
            disk.write(fd, data)
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.rename(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_tree(path: Path) -> None:
    """Remove a directory with all in it, or a file; no error where there is none.

    Directories that forbid it are opened up first, as an upper may hold a directory of mode 0.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        path.unlink(missing_ok=True)
        return
    if mode & 0o700 != 0o700:
        path.chmod(0o700)
    for name in names_in(path):
        remove_tree(path / name)
    path.rmdir()


def disk_usage(path: Path) -> int:
    """The bytes that a file or directory takes on disk, without holes; 0 where there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0
    total = found.st_blocks * 512
    if stat.S_ISDIR(found.st_mode):
        total += sum(disk_usage(path / name) for name in names_in(path))
    return total


def names_in(path: Path) -> list[str]:
    """The names in a directory, sorted; none where it is gone."""
    try:
        return sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return []
