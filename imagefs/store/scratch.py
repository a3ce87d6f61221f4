"""Half-made files in tmp/, each held by its maker's flock until it is published. Publishes nothing.

Whatever lies in tmp/ with a free flock was left by a dead process and may be removed by anyone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import urandom
from pathlib import Path

from imagefs.system.atomic import Disk, disk_usage, names_in, remove_tree
from imagefs.system.locks import FileLock, lock_path


class Scratch:
    """The directory of half-made things at `path`."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk

    @contextmanager
    def file(self) -> Iterator[tuple[Path, int]]:
        """A new file (path, descriptor); removed at the end unless it was renamed away."""
        while True:
            path = self.path / f"f-{urandom(8).hex()}"
            fd = self._disk.create(path)
            # A sweep may have taken it between the two calls.
            lock = lock_path(path, wait=False)
            if lock is not None:
                break
            os.close(fd)
        # Removed while locked, or a sweep would do it at the same time.
        with lock:
            try:
                yield path, fd
            finally:
                os.close(fd)
                path.unlink(missing_ok=True)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A new directory; removed with all in it at the end unless it was renamed away."""
        path, lock = self.make_directory()
        with lock:
            try:
                yield path
            finally:
                remove_tree(path)

    def make_directory(self) -> tuple[Path, FileLock]:
        """A new directory and the lock that keeps it; the caller removes it."""
        while True:
            path = self.path / f"d-{urandom(8).hex()}"
            self._disk.mkdir(path)
            lock = lock_path(path, wait=False)
            if lock is not None:
                return path, lock

    def sweep(self) -> list[tuple[Path, int]]:
        """Remove what dead processes left: (path, bytes) of each."""
        removed = []
        for entry in names_in(self.path):
            path = self.path / entry
            lock = lock_path(path, wait=False)
            if lock is None:
                continue
            with lock:
                size = disk_usage(path)
                remove_tree(path)
            removed.append((path, size))
        return removed
