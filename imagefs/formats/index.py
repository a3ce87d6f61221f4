"""The layer index: one TOC model for every layer format, and its bytes. Opens no file.

Three address spaces meet here:

- *blob*: the bytes as the registry has them, compressed or not;
- *stream*: the decoded bytes (the tar), or for formats without one the decoded members in a row;
- *data file*: the content of each regular file at a 4 KiB aligned offset, holes left out: ready
  to serve as a block device of an EROFS image.

A *chunk* is a verified piece of the data file and says where in the stream it comes from. A *span*
is a place in the blob where decoding can start. Bytes of a file that no chunk covers are zeros.

The encoding is described in docs/formats/layer-index.md.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

import msgspec

from imagefs.errors import ImagefsError
from imagefs.oci.digest import Digest, DigestError

MAGIC = b"imagefsI"
VERSION = 1
DATA_ALIGNMENT = 4096
CHUNK_SIZE = 1 << 20
DIGEST_SIZE = 32
_ALIGN = 8
_MAX_HEADER = 1 << 16

Codec = Literal["raw", "gzip", "zstd", "stream"]
Buffer = bytes | bytearray | memoryview


class FormatError(ImagefsError):
    """Bytes that are not what their format promises; the message names the format and the place."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a layer, in tar order.

    `path` is clean: no leading or trailing slash, b"" is the root. `kind` holds the S_IFMT bits, or
    0 for a hard link, whose `link` is then the clean path of its target; for a symlink `link` is
    the target as written. `mode` has the 12 permission bits. `data_offset` counts in the data file.
    """

    path: bytes
    kind: int
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    data_offset: int = 0


class Chunks:
    """The chunks of a layer as parallel columns, ascending by data offset."""

    __slots__ = ("data", "digests", "length", "stream")

    def __init__(
        self,
        data: Sequence[int],
        length: Sequence[int],
        stream: Sequence[int],
        digests: Buffer,
    ) -> None:
        if not len(data) == len(length) == len(stream) == len(digests) // DIGEST_SIZE:
            raise FormatError("layer index: the chunk columns differ in length")
        self.data = data
        self.length = length
        self.stream = stream
        self.digests = digests

    def __len__(self) -> int:
        return len(self.data)

    def digest(self, chunk: int) -> bytes:
        """What the bytes of `chunk` must hash to (`LayerIndex.chunk_hash` says how)."""
        return bytes(self.digests[chunk * DIGEST_SIZE : (chunk + 1) * DIGEST_SIZE])

    def covering(self, offset: int, length: int) -> range:
        """The chunks that share a byte with `[offset, offset + length)` of the data file."""
        if length <= 0 or not len(self):
            return range(0)
        first = bisect_right(self.data, offset) - 1
        if first < 0 or self.data[first] + self.length[first] <= offset:
            first += 1
        last = bisect_right(self.data, offset + length - 1)
        return range(first, max(first, last))


class Spans:
    """Places where decoding can start, ascending: parallel columns, and a window for each.

    `bits` is the number of bits of the byte before `blob` that belong to the span (gzip only).
    """

    __slots__ = ("_window_ends", "_windows", "bits", "blob", "stream")

    def __init__(
        self,
        stream: Sequence[int],
        blob: Sequence[int],
        bits: Sequence[int],
        window_ends: Sequence[int],
        windows: Buffer,
    ) -> None:
        if not len(stream) == len(blob) == len(bits) == len(window_ends):
            raise FormatError("layer index: the span columns differ in length")
        self.stream = stream
        self.blob = blob
        self.bits = bits
        self._window_ends = window_ends
        self._windows = windows

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int, int, bytes]]) -> Spans:
        """Spans from (stream offset, blob offset, bits, window) in ascending order."""
        stream, blob, bits, ends = array("Q"), array("Q"), array("B"), array("Q")
        windows = bytearray()
        for at, where, count, window in spans:
            stream.append(at)
            blob.append(where)
            bits.append(count)
            windows += zlib.compress(window, 1) if window else b""
            ends.append(len(windows))
        return cls(stream, blob, bits, ends, bytes(windows))

    def __len__(self) -> int:
        return len(self.stream)

    def window(self, span: int) -> bytes:
        """The up to 32 KiB of stream before the span, which a decoder needs; b"" for none."""
        start = self._window_ends[span - 1] if span else 0
        packed = self._windows[start : self._window_ends[span]]
        if not packed:
            return b""
        try:
            return zlib.decompressobj().decompress(packed, 1 << 15)
        except zlib.error as error:
            raise FormatError(f"layer index: window {span} is damaged: {error}") from None

    def at(self, stream_offset: int) -> int:
        """The last span that starts at or before `stream_offset`."""
        return max(0, bisect_right(self.stream, stream_offset) - 1)

    def columns(self) -> dict[str, Buffer]:
        """The columns as they are written."""
        return {
            "span.stream": _column("Q", self.stream),
            "span.blob": _column("Q", self.blob),
            "span.bits": _column("B", self.bits),
            "span.window_end": _column("Q", self._window_ends),
            "span.windows": self._windows,
        }


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codec: Codec
    chunk_hash: Literal["blake3", "sha256"]
    blob_digest: str
    blob_size: int
    diff_id: str | None
    stream_size: int
    data_size: int
    sections: dict[str, tuple[int, int]]


class LayerIndex:
    """What one layer holds and how to get at it, without its bytes.

    `diff_id` is set only where a full stream proved it. `codec` says how a span is decoded: "raw"
    (blob and stream are the same), "gzip" or "zstd" (from any span), "stream" (only from the
    start).
    """

    def __init__(
        self,
        *,
        codec: Codec,
        blob_digest: Digest,
        blob_size: int,
        diff_id: Digest | None,
        stream_size: int,
        data_size: int,
        chunks: Chunks,
        spans: Spans,
        entries: Sequence[Entry] | None = None,
        packed_entries: Buffer | None = None,
        chunk_hash: Literal["blake3", "sha256"] = "blake3",
    ) -> None:
        self.codec: Codec = codec
        self.blob_digest = blob_digest
        self.blob_size = blob_size
        self.diff_id = diff_id
        self.stream_size = stream_size
        self.data_size = data_size
        self.chunks = chunks
        self.spans = spans
        self.chunk_hash: Literal["blake3", "sha256"] = chunk_hash
        if packed_entries is None:
            packed_entries = msgspec.msgpack.encode(list(entries or ()))
        self._packed_entries = packed_entries

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The entries in tar order; decoded when first asked for."""
        try:
            return msgspec.msgpack.decode(self._packed_entries, type=tuple[Entry, ...])
        except msgspec.DecodeError as error:
            raise FormatError(f"layer index: entries are damaged: {error}") from None

    @cached_property
    def _encoded(self) -> bytes:
        return _join(
            {
                "codec": self.codec,
                "chunk_hash": self.chunk_hash,
                "blob_digest": str(self.blob_digest),
                "blob_size": self.blob_size,
                "diff_id": str(self.diff_id) if self.diff_id else None,
                "stream_size": self.stream_size,
                "data_size": self.data_size,
            },
            {
                "chunk.data": _column("Q", self.chunks.data),
                "chunk.length": _column("I", self.chunks.length),
                "chunk.stream": _column("Q", self.chunks.stream),
                "chunk.digest": self.chunks.digests,
                **self.spans.columns(),
                "entries": self._packed_entries,
            },
        )

    def encode(self) -> bytes:
        """The index as it is stored; the same index gives the same bytes."""
        return self._encoded

    @cached_property
    def digest(self) -> Digest:
        """sha256 of the encoded index: with the blob's digest, what a layer entry is keyed by."""
        return Digest.of(self._encoded)

    @classmethod
    def open(cls, buffer: Buffer) -> LayerIndex:
        """The index in `buffer`, which may be a mapped file; columns are used in place.

        Raises FormatError for anything that is not an index of this version.
        """
        view = memoryview(buffer)
        header = _header(view)
        try:
            blob = Digest.parse(header.blob_digest)
            diff_id = Digest.parse(header.diff_id) if header.diff_id else None
        except DigestError as error:
            raise FormatError(f"layer index: {error}") from None
        return cls(
            codec=header.codec,
            chunk_hash=header.chunk_hash,
            blob_digest=blob,
            blob_size=header.blob_size,
            diff_id=diff_id,
            stream_size=header.stream_size,
            data_size=header.data_size,
            chunks=Chunks(
                _read(view, header, "chunk.data", "Q"),
                _read(view, header, "chunk.length", "I"),
                _read(view, header, "chunk.stream", "Q"),
                _section(view, header, "chunk.digest"),
            ),
            spans=Spans(
                _read(view, header, "span.stream", "Q"),
                _read(view, header, "span.blob", "Q"),
                _read(view, header, "span.bits", "B"),
                _read(view, header, "span.window_end", "Q"),
                _section(view, header, "span.windows"),
            ),
            packed_entries=_section(view, header, "entries"),
        )


def _column(code: str, values: Sequence[int]) -> Buffer:
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _join(header: dict[str, object], sections: dict[str, Buffer]) -> bytes:
    places: dict[str, tuple[int, int]] = {}
    position = 0
    for name, body in sections.items():
        places[name] = (position, len(body))
        position += -(-len(body) // _ALIGN) * _ALIGN
    packed = msgspec.msgpack.encode({**header, "sections": places})
    parts: list[Buffer] = [MAGIC, VERSION.to_bytes(4, "little"), len(packed).to_bytes(4, "little")]
    parts += [packed, bytes(-len(packed) % _ALIGN)]
    for body in sections.values():
        parts += [body, bytes(-len(body) % _ALIGN)]
    return b"".join(parts)


def _header(view: memoryview) -> _Header:
    if len(view) < 16 or view[:8] != MAGIC:
        raise FormatError("layer index: not one (wrong magic)")
    version = int.from_bytes(view[8:12], "little")
    if version != VERSION:
        raise FormatError(f"layer index: version {version} is unknown here (known: {VERSION})")
    length = int.from_bytes(view[12:16], "little")
    if length > _MAX_HEADER or 16 + length > len(view):
        raise FormatError("layer index: truncated header")
    try:
        return msgspec.msgpack.decode(view[16 : 16 + length], type=_Header)
    except msgspec.DecodeError as error:
        raise FormatError(f"layer index: damaged header: {error}") from None


def _section(view: memoryview, header: _Header, name: str) -> memoryview:
    if name not in header.sections:
        raise FormatError(f"layer index: section {name} is missing")
    base = 16 + int.from_bytes(view[12:16], "little")
    base += -base % _ALIGN
    offset, length = header.sections[name]
    if offset < 0 or length < 0 or base + offset + length > len(view):
        raise FormatError(f"layer index: section {name} is truncated")
    return view[base + offset : base + offset + length]


def _read(view: memoryview, header: _Header, name: str, code: str) -> Sequence[int]:
    section = _section(view, header, name)
    if len(section) % array(code).itemsize:
        raise FormatError(f"layer index: section {name} has a broken length")
    if sys.byteorder == "big":
        column = array(code, section.tobytes())
        column.byteswap()
        return column
    return section.cast(code)  # type: ignore[call-overload,no-any-return]  # typeshed wants a literal
