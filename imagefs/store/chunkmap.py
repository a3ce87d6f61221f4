"""The map of a layer's chunks: one byte of state each, shared by all processes. Verifies nothing.

Theory of operation. The file is a header and one byte per chunk, mapped MAP_SHARED by all who use
the layer; a state is a single byte store, so it needs no lock. A byte is raised only after the
chunk's bytes were verified and written.

    MISSING  -> PRESENT    written and verified in this boot; the page cache has it at least
    PRESENT  -> DURABLE    the data file was synced after it was written
    PRESENT  -> DOUBTFUL   the map was opened in another boot: the write may be lost
    DOUBTFUL -> PRESENT    read back and verified, or written again
    any      -> MISSING    content dropped, under the layer's exclusive lock

The boot in the header is set after all bytes were made doubtful, so that a crash in between repeats
it; two processes that do it at once can only make a byte doubtful once too often.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from imagefs.store.errors import StoreError
from imagefs.system.atomic import Disk

MISSING, PRESENT, DURABLE, DOUBTFUL = range(4)

# magic, version, header size, count, boot id, reserved
_HEADER = struct.Struct("<8sIIQ16s24x")
_MAGIC = b"imagefsM"
_VERSION = 1
_BOOT = slice(24, 40)
_HERE = bytes((PRESENT, DURABLE))
_AGED = bytes.maketrans(bytes((PRESENT,)), bytes((DOUBTFUL,)))


def create_map(disk: Disk, path: Path, boot: bytes, states: bytes) -> None:
    """Write a new map with `states`; every block of it is allocated, so that no store can fail."""
    fd = disk.create(path)
    try:
        disk.write(fd, _HEADER.pack(_MAGIC, _VERSION, _HEADER.size, len(states), boot) + states)
        disk.sync(fd)
    finally:
        os.close(fd)


class ChunkMap:
    """The states of `count` chunks in the file at `path`, seen from the boot `boot`."""

    def __init__(self, path: Path, count: int, boot: bytes) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size != _HEADER.size + count:
                raise StoreError(f"{path}: chunk map of the wrong size")
            self._bytes = mmap.mmap(fd, _HEADER.size + count)
        finally:
            os.close(fd)
        self.count = count
        magic, version, header, found, made_in = _HEADER.unpack_from(self._bytes)
        if magic != _MAGIC or version != _VERSION or header != _HEADER.size or found != count:
            raise StoreError(f"{path}: not a chunk map of version {_VERSION} with {count} chunks")
        if made_in != boot:
            self.replace(self.states(0, count).translate(_AGED))
            self._bytes[_BOOT] = boot

    def __getitem__(self, chunk: int) -> int:
        return self._bytes[_HEADER.size + chunk]

    def __setitem__(self, chunk: int, state: int) -> None:
        self._bytes[_HEADER.size + chunk] = state

    def states(self, start: int, stop: int) -> bytes:
        """The states of the chunks from `start` up to `stop`."""
        return self._bytes[_HEADER.size + start : _HEADER.size + stop]

    def all_here(self, start: int, stop: int) -> bool:
        """Whether each chunk from `start` up to `stop` is present and not doubtful."""
        return not self.states(start, stop).translate(None, _HERE)

    def replace(self, states: bytes) -> None:
        """Set all states at once."""
        self._bytes[_HEADER.size :] = states

    def settle(self, before: bytes) -> None:
        """Chunks that were present in `before`, and still are, have become durable."""
        for chunk, state in enumerate(before):
            if state == PRESENT and self[chunk] == PRESENT:
                self[chunk] = DURABLE

    def flush(self) -> None:
        """Write the states to disk."""
        self._bytes.flush()

    def close(self) -> None:
        """Unmap the file."""
        self._bytes.close()
