"""Layer entries: an index, its content as far as it is here, the rest of its tar. Fetches nothing.

An entry is keyed by (blob digest, index digest) and lies in layers/ID: `index`, `data` (sparse,
each file at a 4 KiB aligned offset), `map` (chunkmap.py), `skeleton` (zlib) and `lock`. What an
image claims about a layer selects nothing here.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagefs.errors import NotFoundError
from imagefs.formats.index import LayerIndex
from imagefs.oci.digest import Digest
from imagefs.store.chunkmap import PRESENT
from imagefs.store.core import Core
from imagefs.store.keys import LayerKey
from imagefs.store.layerwriter import LayerWriter
from imagefs.store.storedlayer import StoredLayer
from imagefs.system.atomic import disk_usage, replace_file
from imagefs.system.locks import lock_path


class Layers:
    """The layer entries of a store."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def find(self, blob: Digest) -> LayerKey | None:
        """The entry of `blob` whose index a full verified stream made here, or None.

        Entries that came with somebody's index are never found: only who brought them uses them.
        """
        with self.core.leases.seeing():
            row = self.core.db.row(
                "SELECT id, index_digest FROM layers WHERE blob = ? AND proved = 1 "
                "ORDER BY added_ns DESC LIMIT 1",
                (str(blob),),
            )
            if row is None:
                return None
            self.core.leases.hold("layer", str(row[0]))
        return LayerKey(blob, Digest.parse(str(row[1])))

    def list(self) -> list[LayerKey]:
        """All entries, proved or not."""
        rows = self.core.db.rows("SELECT blob, index_digest FROM layers ORDER BY id")
        return [LayerKey(Digest.parse(str(b)), Digest.parse(str(i))) for b, i in rows]

    def open(self, key: LayerKey) -> StoredLayer:
        """The entry, with a shared lock until it is closed; NotFoundError if absent."""
        if self.core.leases.active:
            with self.core.db.transaction():
                if self.core.db.row("SELECT 1 FROM layers WHERE id = ?", (key.id,)):
                    self.core.leases.hold("layer", key.id)
        path = self.path(key)
        lock = lock_path(path / "lock", exclusive=False)
        if lock is None:
            raise NotFoundError(f"layer {key.blob}: not in the store: pull its image again")
        try:
            return StoredLayer(key, path, self.core.boot, self.core.disk, lock)
        except BaseException:
            lock.release()
            raise

    @contextmanager
    def create(self) -> Iterator[LayerWriter]:
        """A writer for a layer that is being streamed; without a commit nothing is left."""
        with self.core.scratch.directory() as path:
            writer = LayerWriter(path, self.core.disk, self.core.boot, self._publish)
            try:
                yield writer
            finally:
                writer.close()

    def path(self, key: LayerKey) -> Path:
        """The directory of an entry of this key, here or not."""
        return self.core.root / "layers" / key.id

    def usage(self, key: LayerKey) -> tuple[int, int]:
        """Bytes on disk: (content, the rest of the entry)."""
        path = self.path(key)
        content = disk_usage(path / "data")
        return content, disk_usage(path) - content

    def _publish(self, path: Path, index: LayerIndex, skeleton: Digest, states: bytes) -> LayerKey:
        """Put the finished directory in place; fill the entry up where there is one already."""
        key = LayerKey(index.blob_digest, index.digest)
        proved = index.diff_id is not None
        with self.core.publishing():
            if self.path(key).exists():
                self._merge(key, path, states, proved)
            else:
                self.core.disk.rename(path, self.path(key))
            with self.core.db.transaction():
                self.core.db.run(
                    "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO "
                    "UPDATE SET proved = max(proved, excluded.proved), diff_id = excluded.diff_id, "
                    "skeleton_digest = excluded.skeleton_digest",
                    (
                        key.id,
                        str(key.blob),
                        str(key.index),
                        int(proved),
                        str(index.diff_id) if index.diff_id else None,
                        index.blob_size,
                        index.stream_size,
                        index.data_size,
                        str(skeleton),
                        time.time_ns(),
                    ),
                )
                self.core.leases.hold("layer", key.id)
        return key

    def _merge(self, key: LayerKey, path: Path, states: bytes, proved: bool) -> None:
        with open(path / "data", "rb") as data, self.open(key) as old:
            for chunk, state in enumerate(states):
                if state == PRESENT and not old.present(chunk):
                    offset, length = old.index.chunks.data[chunk], old.index.chunks.length[chunk]
                    old.put(chunk, os.pread(data.fileno(), length, offset))
        if proved:
            temporary = path / "skeleton-copy"
            skeleton = (path / "skeleton").read_bytes()
            replace_file(self.core.disk, temporary, self.path(key) / "skeleton", skeleton)


def skeleton_digest(layer: StoredLayer) -> Digest:
    """sha256 of the layer's tar bytes that are no file content."""
    hasher = hashlib.sha256()
    for piece in layer.skeleton():
        hasher.update(piece)
    return Digest("sha256", hasher.hexdigest())
