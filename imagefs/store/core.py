"""What all parts of a store share: its directories, database, locks and leases. Holds no content.

Lock order, outermost first (whoever holds one takes only later ones):

1. a lease's file, and the flock on something in tmp/;
2. locks/gc: shared while something is published (files renamed in, row written), exclusive for gc;
3. layers/ID/lock: shared while the layer is open, exclusive to drop its content or the whole;
4. claims on chunks, byte i of layers/ID/lock;
5. the database's write transaction.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from imagefs.store.db import Database, create_database
from imagefs.store.errors import NoStoreError, StoreVersionError
from imagefs.store.leases import Leases
from imagefs.store.schema import VERSION
from imagefs.store.scratch import Scratch
from imagefs.system.atomic import Disk, replace_file
from imagefs.system.locks import lock_path

DIRECTORIES = ("blobs", "layers", "trees", "mounts", "containers", "tmp", "locks", "locks/leases")
_MARK = "imagefs store "
#: What may be where a store is made: one whose making was broken off, or a disk of its own.
_DATABASE = ("meta.db", "meta.db-journal", "meta.db-shm", "meta.db-wal")
_BEGUN = {*DIRECTORIES, *_DATABASE, "version", "lost+found"}


class Core:
    """The open store at `root`."""

    def __init__(self, root: Path, runroot: Path, disk: Disk, boot: bytes | None = None) -> None:
        self.root = root
        self.runroot = runroot
        self.disk = disk
        self._boot = boot
        self.db = Database(root / "meta.db", durable=disk.durable)
        self.scratch = Scratch(root / "tmp", disk)
        self.leases = Leases(root / "locks/leases", self.db)

    @cached_property
    def boot(self) -> bytes:
        """16 bytes that are others after a reboot."""
        return self._boot if self._boot is not None else read_boot_id()

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Keep gc out while files and their row are put in place."""
        lock = lock_path(self.root / "locks/gc", exclusive=False, create=True)
        assert lock is not None
        with lock:
            yield

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep all publishers out."""
        lock = lock_path(self.root / "locks/gc", create=True)
        assert lock is not None
        with lock:
            yield


def read_boot_id() -> bytes:
    """The kernel's id of this boot (random(4))."""
    return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", ""))


def prepare(root: Path, runroot: Path, disk: Disk) -> None:
    """Make the directories and the database of a new store, or check the version of an old one.

    What is neither a store nor empty is left alone: gc would take the files in its tmp/ for ours.
    """
    try:
        _check_mark(root, (root / "version").read_text(errors="replace"))
    except FileNotFoundError:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(root, disk)
    runroot.mkdir(mode=0o700, parents=True, exist_ok=True)


def _create(root: Path, disk: Disk) -> None:
    lock = lock_path(root)
    assert lock is not None
    with lock:
        foreign = {entry.name for entry in root.iterdir()} - _BEGUN
        if foreign:
            raise NoStoreError(
                f"{root}: not a store and not empty (it has {min(foreign)!r}): name another --root"
            )
        for name in DIRECTORIES:
            (root / name).mkdir(mode=0o700, exist_ok=True)
        create_database(root / "meta.db")
        temporary = root / "tmp" / f"version-{os.getpid()}"
        replace_file(disk, temporary, root / "version", f"{_MARK}{VERSION}\n".encode())


def _check_mark(root: Path, text: str) -> None:
    if text != f"{_MARK}{VERSION}\n":
        raise StoreVersionError(
            f"{root}/version: {text.strip()[:80]!r} is not a store that this imagefs knows "
            f"(version {VERSION}): use a newer imagefs, or another --root"
        )
