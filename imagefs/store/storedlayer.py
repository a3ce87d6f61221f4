"""An open layer entry: what is present, verified reads and writes, claims. Fetches nothing.

Lock order: see core.py. An open layer holds a shared flock on its `lock` file, so that nobody drops
content under a reader; a claim is an exclusive lock on byte i of that file for chunk i.
"""

from __future__ import annotations

import mmap
import os
import weakref
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from imagefs.formats.index import LayerIndex
from imagefs.oci.digest import Digest
from imagefs.store.chunkmap import DOUBTFUL, MISSING, PRESENT, ChunkMap
from imagefs.store.errors import InUseError, MissingContentError, StoreError, VerifyError
from imagefs.store.keys import LayerKey
from imagefs.store.verify import has_digest
from imagefs.system.atomic import Data, Disk
from imagefs.system.locks import FileLock, RangeLock, lock_bytes

#: The right to fetch some chunks; a context manager, freed by `release` or by death.
Claim = RangeLock

_PIECE = 1 << 18


class StoredLayer:
    """One layer entry, usable from several threads; made by `Layers.open`."""

    def __init__(self, key: LayerKey, path: Path, boot: bytes, disk: Disk, lock: FileLock) -> None:
        self.key = key
        self.path = path
        self.index = _open_index(path / "index", key)
        self._disk = disk
        self._lock = lock
        self._map = ChunkMap(path / "map", len(self.index.chunks), boot)
        self._fd = os.open(path / "data", os.O_RDWR | os.O_CLOEXEC)
        self._closer = weakref.finalize(self, os.close, self._fd)
        if os.fstat(self._fd).st_size < self.index.data_size:
            # Somebody died in drop_content, between the two changes of size.
            disk.truncate(self._fd, self.index.data_size)

    def present(self, chunk: int) -> bool:
        """Whether the chunk is here; one written in an earlier boot is verified first."""
        state = self._map[chunk]
        return state != MISSING and (state != DOUBTFUL or self._reassure(chunk))

    def missing(self, offset: int, length: int) -> list[int]:
        """The chunks to fetch before `[offset, offset + length)` of the data file can be read."""
        chunks = self.index.chunks.covering(offset, length)
        if self._map.all_here(chunks.start, chunks.stop):
            return []
        return [chunk for chunk in chunks if not self.present(chunk)]

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes asked for; what no chunk covers reads as zeros.

        Raises MissingContentError where `missing` would name a chunk.
        """
        if missing := self.missing(offset, length):
            raise MissingContentError(
                f"layer {self.key.blob}: chunk {missing[0]} is not in the store: fetch it first"
            )
        data = os.pread(self._fd, length, offset)
        return data if len(data) == length else self._read_on(offset, length, data)

    def put(self, chunk: int, data: Data) -> None:
        """Keep a chunk: verified, written, then marked; idempotent.

        VerifyError: `data` is not that chunk, nothing was written. OSError (ENOSPC): not marked.
        """
        if not has_digest(self.index, chunk, data):
            raise VerifyError(
                f"layer {self.key.blob}: bytes for chunk {chunk} are not those promised"
            )
        if self._map[chunk] in (MISSING, DOUBTFUL):
            self._disk.pwrite(self._fd, data, self.index.chunks.data[chunk])
            self._map[chunk] = PRESENT

    @property
    def complete(self) -> bool:
        """Whether no chunk is missing."""
        count = len(self.index.chunks)
        return self._map.all_here(0, count) or all(map(self.present, range(count)))

    def progress(self) -> tuple[int, int]:
        """Bytes of content: (here, all). Doubtful chunks count as here."""
        lengths = self.index.chunks.length
        states = self._map.states(0, self._map.count)
        here = sum(n for n, state in zip(lengths, states, strict=True) if state != MISSING)
        return here, sum(lengths)

    def claim(self, chunks: Iterable[int], *, wait: bool = False) -> Claim | None:
        """The sole right to fetch `chunks`, or None if somebody has it for one of them.

        With `wait`, blocks until all are free; hold no other claim then. Look at `missing` again
        once you have it: who had it before may have brought them.
        """
        return lock_bytes(self.path / "lock", chunks, wait=wait)

    def sync(self) -> None:
        """What was put so far survives a power failure without being verified again."""
        before = self._map.states(0, self._map.count)
        self._disk.sync(self._fd)
        self._map.settle(before)
        self._map.flush()

    def drop_content(self) -> int:
        """Free the content, keep index and skeleton; the bytes of content that were here.

        InUseError if anyone else, a mount for instance, has the layer open.
        """
        if not self._lock.try_exclusive():
            raise InUseError(f"layer {self.key.blob}: in use by a mount: unmount it first")
        try:
            here, _ = self.progress()
            self._map.replace(bytes(self._map.count))
            self._map.flush()
            # In this order: a map that says less than the data file has is still true.
            self._disk.truncate(self._fd, 0)
            self._disk.truncate(self._fd, self.index.data_size)
        finally:
            self._lock.share()
        return here

    def skeleton(self) -> Iterator[bytes]:
        """The tar bytes that are no file content, in stream order; StoreError where damaged."""
        unpacker = zlib.decompressobj()
        try:
            with open(self.path / "skeleton", "rb") as file:
                while packed := file.read(_PIECE):
                    yield unpacker.decompress(packed)
            yield unpacker.flush()
        except (OSError, zlib.error) as error:
            raise StoreError(f"{self.path}/skeleton: damaged: {error}") from None
        if not unpacker.eof:
            raise StoreError(f"{self.path}/skeleton: damaged: it is cut short")

    def fileno(self) -> int:
        """The descriptor of the data file, for what may be read only where nothing is missing."""
        return self._fd

    def close(self) -> None:
        """Give up files and lock; a second call does nothing."""
        if self._closer.alive:
            self._closer()
            self._map.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def damaged(self) -> list[int]:
        """The chunks that the map is sure of and whose bytes are not theirs; reads everything."""
        return [
            chunk
            for chunk, state in enumerate(self._map.states(0, self._map.count))
            if state not in (MISSING, DOUBTFUL) and not self._verifies(chunk)
        ]

    def _verifies(self, chunk: int) -> bool:
        chunks = self.index.chunks
        data = os.pread(self._fd, chunks.length[chunk], chunks.data[chunk])
        return has_digest(self.index, chunk, data)

    def _reassure(self, chunk: int) -> bool:
        """Verify a doubtful chunk. A bad one stays doubtful: another process may be writing it."""
        if not self._verifies(chunk):
            return False
        self._map[chunk] = PRESENT
        return True

    def _read_on(self, offset: int, length: int, data: bytes) -> bytes:
        pieces, got = [data], len(data)
        while got < length:
            piece = os.pread(self._fd, length - got, offset + got)
            if not piece:
                raise StoreError(f"{self.path}/data: shorter than {offset + length} bytes")
            pieces.append(piece)
            got += len(piece)
        return b"".join(pieces)


def _open_index(path: Path, key: LayerKey) -> LayerIndex:
    """The mapped index, verified; VerifyError or FormatError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        view = memoryview(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) if size else b"")
    if Digest.of(view, key.index.algorithm) != key.index:
        raise VerifyError(f"{path}: damaged: remove the image and pull it again")
    return LayerIndex.open(view)
