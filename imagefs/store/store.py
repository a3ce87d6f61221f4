"""The content store: the one object through which all else reaches it. Fetches nothing."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from imagefs.store.blobs import Blobs
from imagefs.store.containers import Containers
from imagefs.store.core import Core, prepare
from imagefs.store.images import Images
from imagefs.store.keys import LayerKey, tree_id
from imagefs.store.layers import Layers
from imagefs.store.locations import Locations
from imagefs.store.mounts import Mounts
from imagefs.store.packed import Packed
from imagefs.system.atomic import Disk

if TYPE_CHECKING:
    from imagefs.store.df import Usage
    from imagefs.store.fsck import Problem
    from imagefs.store.gc import GcReport
    from imagefs.store.rmi import RmiReport
    from imagefs.tree import Tree


class Store:
    """A store, shared by threads and processes; safe across kill -9 at any instant."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.root = core.root
        self.runroot = core.runroot
        self.blobs = Blobs(core)
        self.layers = Layers(core)
        self.images = Images(core, self.blobs)
        self.locations = Locations(core)
        self.packed = Packed(core)
        self.mounts = Mounts(core)
        self.containers = Containers(core)

    @classmethod
    def open(
        cls, root: Path, runroot: Path, *, disk: Disk | None = None, boot: bytes | None = None
    ) -> Store:
        """The store at `root`, made if it is not there. `disk` and `boot` are for tests.

        StoreVersionError if a newer imagefs made it; OSError if the directories cannot be used.
        """
        disk = disk or Disk()
        prepare(root, runroot, disk)
        return cls(Core(root, runroot, disk, boot))

    def lease(self, kind: str, what: str) -> AbstractContextManager[None]:
        """Keep from gc what this Store adds or finds inside the block, until the process dies."""
        return self.core.leases.lease(kind, what)

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory in the store that is gone after the block, or by gc if the process dies."""
        return self.core.scratch.directory()

    def tree(self, keys: Sequence[LayerKey]) -> Tree:
        """The merged tree of the layers, lowest first: built once, mapped from then on.

        NotFoundError if a layer is absent.
        """
        from imagefs.tree import Tree

        path = self.core.root / "trees" / tree_id(key.id for key in keys)
        try:
            return Tree.open(_mapped(path))
        except FileNotFoundError:
            self._build_tree(keys, path)
            return Tree.open(_mapped(path))

    def _build_tree(self, keys: Sequence[LayerKey], path: Path) -> None:
        from imagefs.store.trees import tree_bytes

        data = tree_bytes(self.layers, keys)
        disk = self.core.disk
        with self.core.scratch.file() as (temporary, fd), self.core.publishing():
            disk.write(fd, data)
            disk.sync(fd)
            disk.rename(temporary, path)

    def rmi(self, name: str, *, force: bool = False) -> RmiReport:
        """Take a name away, and with its last name the image; see `imagefs.store.rmi`."""
        from imagefs.store.rmi import remove_image

        return remove_image(self, name, force=force)

    def gc(self, *, content: bool = False) -> GcReport:
        """Free what nothing refers to; with `content` also layer content that nobody has open."""
        from imagefs.store.gc import collect

        return collect(self, content=content)

    def fsck(self) -> list[Problem]:
        """Everything that is wrong, or an empty list. Reads all content, repairs nothing."""
        from imagefs.store.fsck import check

        return check(self)

    def df(self) -> list[Usage]:
        """What takes how much space on disk."""
        from imagefs.store.df import usage

        return usage(self)

    def close(self) -> None:
        """Close this thread's connection; layers that were opened stay open."""
        self.core.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _mapped(path: Path) -> memoryview:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return memoryview(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) if size else b"")
