"""Writes a layer that is being streamed into a directory of its own. Does not publish it."""

from __future__ import annotations

import hashlib
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from imagefs.formats.index import LayerIndex
from imagefs.oci.digest import Digest
from imagefs.store.chunkmap import MISSING, PRESENT, create_map
from imagefs.store.keys import LayerKey
from imagefs.store.verify import has_digest
from imagefs.system.atomic import Data, Disk

Publish = Callable[[Path, LayerIndex, Digest, bytes], LayerKey]


class LayerWriter:
    """The sink of one stream (a `ContentSink`); `commit` makes it an entry of the store.

    The data file is not synced: the map says in which boot it was written, and in another one each
    chunk is verified again before it is served.
    """

    def __init__(self, path: Path, disk: Disk, boot: bytes, publish: Publish) -> None:
        self._path = path
        self._boot = boot
        self._disk = disk
        self._publish = publish
        self._data = disk.create(path / "data")
        self._skeleton = disk.create(path / "skeleton")
        self._packer = zlib.compressobj(1)
        self._hasher = hashlib.sha256()
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._closed = False

    def content(self, data_offset: int, data: Data) -> None:
        """File content for `data_offset` of the data file; raises OSError (ENOSPC)."""
        self._disk.pwrite(self._data, data, data_offset)
        stop = data_offset + len(data)
        if self._stops and self._stops[-1] == data_offset:
            self._stops[-1] = stop
        else:
            self._starts.append(data_offset)
            self._stops.append(stop)

    def skeleton(self, data: Data) -> None:
        """The next tar bytes that are no file content."""
        self._hasher.update(data)
        if packed := self._packer.compress(data):
            self._disk.write(self._skeleton, packed)

    def commit(self, index: LayerIndex) -> LayerKey:
        """Make the entry visible, whole and at once; idempotent for the same layer.

        Where `index.diff_id` is set, the caller answers for it that a full stream with the digest
        `index.blob_digest` went through this writer. Chunks that
        `content` did not bring stay missing.
        """
        states = self._states(index)
        self._disk.write(self._skeleton, self._packer.flush())
        self._disk.sync(self._skeleton)
        self._disk.truncate(self._data, index.data_size)
        self._small_file("index", index.encode())
        self._small_file("lock", b"")
        create_map(self._disk, self._path / "map", self._boot, states)
        self._disk.sync_directory(self._path)
        digest = Digest("sha256", self._hasher.hexdigest())
        return self._publish(self._path, index, digest, states)

    def close(self) -> None:
        """Give the files up; a second call does nothing."""
        if not self._closed:
            self._closed = True
            os.close(self._data)
            os.close(self._skeleton)

    def _small_file(self, name: str, data: bytes) -> None:
        fd = self._disk.create(self._path / name)
        try:
            self._disk.write(fd, data)
            self._disk.sync(fd)
        finally:
            os.close(fd)

    def _states(self, index: LayerIndex) -> bytes:
        return bytes(
            PRESENT if self._has(index, chunk) else MISSING for chunk in range(len(index.chunks))
        )

    def _has(self, index: LayerIndex, chunk: int) -> bool:
        """Whether the chunk came; one that came out of order is read back and verified."""
        start = index.chunks.data[chunk]
        length = index.chunks.length[chunk]
        piece = bisect_right(self._starts, start) - 1
        if piece >= 0 and self._stops[piece] >= start + length:
            return True
        return has_digest(index, chunk, os.pread(self._data, length, start))
