"""Leases: what a pull or a commit in progress uses, kept from gc until it ends or its process dies.

A lease is a row and a locked file; it is void as soon as the lock is free. While it is open, all
that its Store adds or finds is held by it, so that callers cannot forget to. Never frees anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from os import urandom
from pathlib import Path

from imagefs.store.db import Database
from imagefs.system.atomic import names_in
from imagefs.system.locks import FileLock, lock_path


class Leases:
    """The leases of one Store object; those of other processes are seen only by `reap`."""

    def __init__(self, path: Path, db: Database) -> None:
        self.path = path
        self._db = db
        self._open: list[str] = []

    @contextmanager
    def lease(self, kind: str, what: str) -> Iterator[None]:
        """Hold all that this Store adds or finds inside the block."""
        name = urandom(8).hex()
        lock = lock_path(self.path / name, create=True)
        assert lock is not None
        with lock:
            self._db.run(
                "INSERT INTO leases VALUES (?, ?, ?, ?, ?)",
                (name, kind, ascii(what)[1:-1], os.getpid(), time.time_ns()),
            )
            self._open.append(name)
            try:
                yield
            finally:
                self._open.remove(name)
                self._end(name, lock)

    @property
    def active(self) -> bool:
        """Whether a lease of this Store is open."""
        return bool(self._open)

    def seeing(self) -> AbstractContextManager[None]:
        """What is found inside can be held before gc takes it; without a lease no lock is taken."""
        return self._db.transaction() if self._open else self._db.snapshot()

    def hold(self, kind: str, name: str) -> None:
        """Let the open leases hold `name`; call it in the transaction that saw or made the row."""
        for lease in self._open:
            self._db.run("INSERT OR IGNORE INTO lease_holds VALUES (?, ?, ?)", (lease, kind, name))

    def reap(self) -> None:
        """Drop the leases of dead processes."""
        for (name,) in self._db.rows("SELECT id FROM leases"):
            path = self.path / str(name)
            lock = lock_path(path, wait=False)
            if lock is not None:
                self._end(str(name), lock)
            elif not path.exists():
                self._db.run("DELETE FROM leases WHERE id = ?", (name,))
        for left in names_in(self.path):
            if self._db.row("SELECT 1 FROM leases WHERE id = ?", (left,)) is None:
                lock = lock_path(self.path / left, wait=False)
                if lock is not None:
                    self._end(left, lock)

    def _end(self, name: str, lock: FileLock) -> None:
        self._db.run("DELETE FROM leases WHERE id = ?", (name,))
        (self.path / name).unlink(missing_ok=True)
        lock.release()
