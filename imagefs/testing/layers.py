"""Layers in memory, for tests: scan a blob, look at all that came of it. Never for production.

`MemorySink` is the memory fake of ContentSink.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from imagefs.formats.index import LayerIndex
from imagefs.formats.scan import Compression, LayerScanner

if sys.version_info >= (3, 14):
    from compression.zstd import compress as zstd_compress
else:
    from backports.zstd import compress as zstd_compress

__all__ = ["MemorySink", "ScannedLayer", "scan_blob", "zstd_compress"]


class MemorySink:
    """Keeps what a scan gives, and checks the promises of ContentSink."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.skeletons: list[bytes] = []
        self._end = 0

    def content(self, data_offset: int, data: bytes | memoryview) -> None:
        """A piece of the data file (ContentSink)."""
        assert data_offset >= self._end, "content must ascend"
        assert 0 < len(data) <= 1 << 20, "content comes in pieces of up to 1 MiB"
        self._end = data_offset + len(data)
        self.pieces.append((data_offset, bytes(data)))

    def skeleton(self, data: bytes | memoryview) -> None:
        """A piece of the rest (ContentSink)."""
        self.skeletons.append(bytes(data))

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the data file; holes are zeros."""
        result = bytearray(length)
        for at, data in self.pieces:
            start, stop = max(at, offset), min(at + len(data), offset + length)
            if start < stop:
                result[start - offset : stop - offset] = data[start - at : stop - at]
        return bytes(result)


@dataclass(frozen=True)
class ScannedLayer:
    """A blob and what its scan gave."""

    blob: bytes
    index: LayerIndex
    sink: MemorySink

    def files(self) -> list[tuple[bytes, bytes]]:
        """(path, content) of the regular files in tar order."""
        return [
            (entry.path, self.sink.read(entry.data_offset, entry.size))
            for entry in self.index.entries
            if entry.kind == 0o100000
        ]


def scan_blob(
    blob: bytes,
    compression: Compression = "auto",
    cuts: Iterable[int] = (),
    algorithm: str = "sha256",
) -> ScannedLayer:
    """Scan a blob fed whole, or cut at some offsets. Raises FormatError."""
    sink = MemorySink()
    scanner = LayerScanner(compression, sink, algorithm)
    places = sorted({0, len(blob), *(cut for cut in cuts if 0 < cut < len(blob))})
    for start, stop in pairwise(places):
        scanner.feed(blob[start:stop])
    return ScannedLayer(blob, scanner.finish(), sink)
