"""File content to chunks: cuts, hashes, passes on in large pieces. Never reads, keeps nothing."""

from __future__ import annotations

from array import array
from typing import Protocol

from blake3 import blake3

from imagefs.formats.index import CHUNK_SIZE, DATA_ALIGNMENT, Chunks

_PIECE = 1 << 20
_ZEROS = bytes(DATA_ALIGNMENT)


class ContentSink(Protocol):
    """Who keeps what a scan sees. Buffers are valid during the call only."""

    def content(self, data_offset: int, data: bytes | memoryview) -> None:
        """Up to 1 MiB of the data file, ascending; padding between files comes as zeros."""

    def skeleton(self, data: bytes | memoryview) -> None:
        """The next bytes of the stream that are no file content."""


class Chunker:
    """Chunks of at most 1 MiB, none across a run of content; digests are BLAKE3."""

    def __init__(self, sink: ContentSink) -> None:
        self._sink = sink
        self._data, self._length, self._stream = array("Q"), array("I"), array("Q")
        self._digests = bytearray()
        self._hasher = blake3()
        self._size = 0
        self._room = 0
        self._piece = bytearray(_PIECE)
        self._piece_at = 0
        self._filled = 0

    def content(self, data: memoryview, data_offset: int, stream_offset: int, left: int) -> None:
        """A piece of a run, of which `left` bytes remain with this piece."""
        size = len(data)
        if not self._room and size == left <= CHUNK_SIZE:
            self._add(data_offset, size, stream_offset, blake3(data).digest())
        else:
            self._part(data, data_offset, stream_offset, left)
        gap = data_offset - self._piece_at - self._filled
        if gap + size <= _PIECE - self._filled and gap < DATA_ALIGNMENT:
            filled = self._filled
            if gap:
                self._piece[filled : filled + gap] = _ZEROS[:gap]
                filled += gap
            self._piece[filled : filled + size] = data
            self._filled = filled + size
        else:
            self._start_piece(data, data_offset)

    def _part(self, data: memoryview, data_offset: int, stream_offset: int, left: int) -> None:
        position, size = 0, len(data)
        while position < size:
            if not self._room:
                self._room = self._size = min(CHUNK_SIZE, left - position)
                self._hasher = blake3()
            taken = min(size, position + self._room)
            self._hasher.update(data[position:taken])
            self._room -= taken - position
            position = taken
            if not self._room:
                start = position - self._size
                digest = self._hasher.digest()
                self._add(data_offset + start, self._size, stream_offset + start, digest)

    def _add(self, data_offset: int, size: int, stream_offset: int, digest: bytes) -> None:
        self._data.append(data_offset)
        self._length.append(size)
        self._stream.append(stream_offset)
        self._digests += digest

    def _start_piece(self, data: memoryview, data_offset: int) -> None:
        self.flush()
        while len(data) >= _PIECE:
            self._sink.content(data_offset, data[:_PIECE])
            data = data[_PIECE:]
            data_offset += _PIECE
        self._piece_at = data_offset
        self._piece[: len(data)] = data
        self._filled = len(data)

    def flush(self) -> None:
        """Pass on what is still held back."""
        if self._filled:
            with memoryview(self._piece) as view:
                self._sink.content(self._piece_at, view[: self._filled])
            self._piece_at += self._filled
            self._filled = 0

    def chunks(self) -> Chunks:
        """The table of all chunks so far."""
        return Chunks(self._data, self._length, self._stream, bytes(self._digests))
