"""Frees what nothing refers to, and nothing else. Never touches what a live lease or reader holds.

Roots are names, mounts, containers and live leases. Rows go in one transaction, files are then
moved to tmp/, and removed after publishers may go on. A crash leaves files without a row, which the
next gc removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from imagefs.errors import NotFoundError
from imagefs.formats.index import FormatError
from imagefs.oci.digest import Digest, DigestError
from imagefs.store.errors import InUseError, StoreError
from imagefs.store.keys import tree_id
from imagefs.system.atomic import disk_usage, names_in, remove_tree
from imagefs.system.locks import FileLock, lock_path

if TYPE_CHECKING:
    from imagefs.store.store import Store

_LIVE_IMAGES = """
    SELECT manifest FROM names UNION SELECT manifest FROM mounts
    UNION SELECT manifest FROM containers UNION SELECT name FROM lease_holds WHERE kind = 'image'
"""
_LIVE_LAYERS = """
    SELECT layer FROM image_layers UNION SELECT layer FROM mount_layers
    UNION SELECT name FROM lease_holds WHERE kind = 'layer'
"""
_LIVE_BLOBS = """
    SELECT blob FROM image_blobs UNION SELECT name FROM lease_holds WHERE kind = 'blob'
    UNION SELECT l.blob FROM image_layers AS i JOIN layers AS l ON l.id = i.layer
"""


class Freed(msgspec.Struct, frozen=True):
    """One thing that was freed; `size` is what it took on disk."""

    kind: str
    name: str
    size: int


class GcReport(msgspec.Struct, frozen=True):
    """What a gc did; `kept` says in a line each what it left because it is in use."""

    freed: tuple[Freed, ...]
    kept: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes freed on disk."""
        return sum(one.size for one in self.freed)


def collect(store: Store, *, content: bool = False, dangling: bool = True) -> GcReport:
    """See `Store.gc`; images without a name stay if `dangling` is false."""
    core = store.core
    freed: list[Freed] = []
    kept: list[str] = []
    with core.scratch.directory() as trash:
        with core.collecting():
            core.leases.reap()
            dead = _Dead(store, trash, kept)
            with core.db.transaction():
                freed += dead.forget(dangling=dangling)
            freed += dead.bury()
        remove_tree(trash)
    freed += [Freed("leftover", path.name, size) for path, size in core.scratch.sweep()]
    _sweep_locks(core.root / "locks")
    if content:
        dropped, held = _drop_content(store)
        freed += dropped
        kept += held
    return GcReport(tuple(freed), tuple(kept))


def _sweep_locks(directory: Path) -> None:
    """Remove the locks of scans whose process died."""
    for name in names_in(directory):
        if name.startswith("scan-") and (lock := lock_path(directory / name, wait=False)):
            with lock:
                (directory / name).unlink(missing_ok=True)


class _Dead:
    """One run over the store, with publishers locked out."""

    def __init__(self, store: Store, trash: Path, kept: list[str]) -> None:
        self._store = store
        self._root = store.root
        self._db = store.core.db
        self._trash = trash
        self._kept = kept
        self._locks: list[FileLock] = []

    def forget(self, *, dangling: bool) -> list[Freed]:
        """Delete the rows of what is dead, inside the caller's transaction; the dead images."""
        images = self._images() if dangling else []
        for manifest in images:
            self._db.run("DELETE FROM image_layers WHERE manifest = ?", (manifest,))
            self._db.run("DELETE FROM image_blobs WHERE manifest = ?", (manifest,))
            self._db.run("DELETE FROM images WHERE manifest = ?", (manifest,))
        self._layers()
        self._db.run(f"DELETE FROM blobs WHERE digest NOT IN ({_LIVE_BLOBS})")
        self._db.run("DELETE FROM packed WHERE blob NOT IN (SELECT blob FROM layers)")
        self._db.run(
            "DELETE FROM locations WHERE blob NOT IN "
            "(SELECT blob FROM layers UNION SELECT packed FROM packed)"
        )
        return [Freed("image", manifest, 0) for manifest in images]

    def bury(self) -> list[Freed]:
        """Move the files that have no row to the trash."""
        freed = []
        for kind, path in list(strays(self._store)):
            if kind != "unknown":
                freed.append(Freed(kind, path.name, disk_usage(path)))
                path.rename(self._trash / f"{kind}-{path.name}")
        for lock in self._locks:
            lock.release()
        return freed

    def _images(self) -> list[str]:
        rows = self._db.rows(f"SELECT manifest FROM images WHERE manifest NOT IN ({_LIVE_IMAGES})")
        return [str(manifest) for (manifest,) in rows]

    def _layers(self) -> None:
        rows = self._db.rows(f"SELECT id, blob FROM layers WHERE id NOT IN ({_LIVE_LAYERS})")
        for layer, blob in rows:
            path = self._root / "layers" / str(layer) / "lock"
            lock = lock_path(path, wait=False)
            if lock is None and path.exists():
                self._kept.append(f"layer {blob}: unreferenced, but open in another process")
                continue
            if lock is not None:
                self._locks.append(lock)
            self._db.run("DELETE FROM layers WHERE id = ?", (layer,))


def strays(store: Store) -> Iterator[tuple[str, Path]]:
    """(kind, path) of what no row speaks of; 'unknown' for what cannot be the store's."""
    db, root = store.core.db, store.root
    for kind, folder, table in (
        ("layer", "layers", "layers"),
        ("upper", "mounts", "mounts"),
        ("container", "containers", "containers"),
    ):
        known = {str(name) for (name,) in db.rows(f"SELECT id FROM {table}")}
        for name in names_in(root / folder):
            if name not in known:
                yield kind, root / folder / name
    blobs = {str(name) for (name,) in db.rows("SELECT digest FROM blobs")}
    for algorithm in names_in(root / "blobs"):
        for name in names_in(root / "blobs" / algorithm):
            path = root / "blobs" / algorithm / name
            if not _is_digest(algorithm, name):
                yield "unknown", path
            elif f"{algorithm}:{name}" not in blobs:
                yield "blob", path
    trees = set(live_trees(store))
    for name in names_in(root / "trees"):
        if name not in trees:
            yield "tree", root / "trees" / name


def live_trees(store: Store) -> dict[str, list[str]]:
    """The ids of the trees that images and mounts use, with the ids of their layers."""
    found: dict[str, list[str]] = {}
    for table, column in (("image_layers", "manifest"), ("mount_layers", "mount")):
        stacks: dict[str, list[str]] = {}
        rows = store.core.db.rows(
            f"SELECT {column}, layer FROM {table} ORDER BY {column}, position"
        )
        for owner, layer in rows:
            stacks.setdefault(str(owner), []).append(str(layer))
        found.update((tree_id(stack), stack) for stack in stacks.values())
    return found


def _is_digest(algorithm: str, name: str) -> bool:
    try:
        Digest(algorithm, name)
    except DigestError:
        return False
    return True


def _drop_content(store: Store) -> tuple[list[Freed], list[str]]:
    dropped, held = [], []
    for key in store.layers.list():
        before, _ = store.layers.usage(key)
        if not store.locations.get(key.blob):
            held.append(f"layer {key.blob}: content kept, it is nowhere else: push its image first")
            continue
        try:
            with store.layers.open(key) as layer:
                layer.drop_content()
        except InUseError:
            held.append(f"layer {key.blob}: content in use by {_users(store, key.id)}")
            continue
        except NotFoundError:
            continue  # removed meanwhile
        except (StoreError, FormatError) as error:
            held.append(str(error))
            continue
        after, _ = store.layers.usage(key)
        if before > after:
            dropped.append(Freed("content", str(key.blob), before - after))
    return dropped, held


def _users(store: Store, layer: str) -> str:
    rows = store.core.db.rows(
        "SELECT m.id, m.mountpoint FROM mount_layers AS l JOIN mounts AS m ON m.id = l.mount "
        "WHERE l.layer = ? ORDER BY m.id",
        (layer,),
    )
    names = [
        f"mount {one} at {os.fsdecode(where)}" for one, where in rows if isinstance(where, bytes)
    ]
    return ", ".join(names) or "another process"
