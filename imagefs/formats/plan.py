"""Which bytes of a blob hold which chunks, and from bytes to chunks. Fetches, verifies nothing.

Chunks ascend in the stream as they do in the data file: a range of one is a range of the other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from imagefs.formats.gunzip import Gunzip
from imagefs.formats.index import Buffer, Chunks, FormatError, LayerIndex
from imagefs.formats.scan import sniff
from imagefs.formats.unzstd import Unzstd

#: A gap in a raw blob that is cheaper to fetch than to leave out.
GAP = 16 << 10
#: Blob bytes up to which neighbours join into one fetch.
FETCH_MAX = 8 << 20


class Fetch(NamedTuple):
    """A range of the blob, its spans (0 and 0 where there are none), and the chunks it is for."""

    blob_offset: int
    blob_length: int
    first_span: int
    last_span: int
    chunk_ids: tuple[int, ...]


def plan(index: LayerIndex, chunk_ids: Iterable[int], fetch_max: int = FETCH_MAX) -> list[Fetch]:
    """The fetches for some chunks, ascending; neighbours join up to `fetch_max` bytes of blob.

    A layer that can only be decoded from its start has one fetch, the whole blob.
    """
    wanted = sorted(set(chunk_ids))
    if not wanted:
        return []
    if index.codec == "stream":
        return [Fetch(0, index.blob_size, 0, 0, tuple(wanted))]
    if index.codec == "raw":
        return _join(index, wanted, fetch_max, GAP)
    if not len(index.spans):
        raise FormatError(f"layer index: a {index.codec} layer without spans")
    return _join(index, wanted, fetch_max, 0)


def _join(index: LayerIndex, wanted: list[int], fetch_max: int, gap: int) -> list[Fetch]:
    fetches: list[Fetch] = []
    ids: list[int] = []
    begin = end = first = last = 0
    for chunk in wanted:
        low, high = _spans_of(index, chunk)
        start, stop = _blob_range(index, chunk, low, high)
        if ids and start <= end + gap and stop - begin <= fetch_max:
            end, last = max(end, stop), max(last, high)
        else:
            if ids:
                fetches.append(Fetch(begin, end - begin, first, last, tuple(ids)))
            ids, begin, end, first, last = [], start, stop, low, high
        ids.append(chunk)
    fetches.append(Fetch(begin, end - begin, first, last, tuple(ids)))
    return fetches


def _spans_of(index: LayerIndex, chunk: int) -> tuple[int, int]:
    if index.codec == "raw":
        return 0, 0
    start = index.chunks.stream[chunk]
    first = index.spans.at(start)
    if index.spans.stream[first] > start:
        raise FormatError(f"layer index: chunk {chunk} lies before the first span")
    return first, index.spans.at(start + max(1, index.chunks.length[chunk]) - 1)


def _blob_range(index: LayerIndex, chunk: int, first: int, last: int) -> tuple[int, int]:
    if index.codec == "raw":
        start = index.chunks.stream[chunk]
        stop = start + index.chunks.length[chunk]
    else:
        spans = index.spans
        start = spans.blob[first] - (1 if spans.bits[first] else 0)
        stop = spans.blob[last + 1] if last + 1 < len(spans) else index.blob_size
    if not 0 <= start <= stop <= index.blob_size:
        raise FormatError(f"layer index: chunk {chunk} lies outside the blob")
    return start, stop


def decode(
    index: LayerIndex, fetch: Fetch, blob: Buffer | Iterable[Buffer]
) -> Iterator[tuple[int, bytes]]:
    """(chunk, content) for every chunk that lies wholly in what a fetch decodes to, not verified.

    `blob` are the fetched bytes, whole or in pieces. Raises FormatError where they do not decode,
    or end before the last of the fetch's chunks.
    """
    pieces = (blob,) if isinstance(blob, bytes | bytearray | memoryview) else blob
    start, end = _stream_range(index, fetch)
    following = yield from _cut(index.chunks, start, end, _decoded(index, fetch, iter(pieces)))
    if fetch.chunk_ids and fetch.chunk_ids[-1] >= following:
        raise FormatError(
            f"layer {index.blob_digest}: bytes {fetch.blob_offset} to "
            f"{fetch.blob_offset + fetch.blob_length} do not hold chunk {following}"
        )


def _stream_range(index: LayerIndex, fetch: Fetch) -> tuple[int, int]:
    if index.codec == "raw":
        return fetch.blob_offset, fetch.blob_offset + fetch.blob_length
    if index.codec == "stream":
        return 0, index.stream_size
    spans, following = index.spans, fetch.last_span + 1
    end = spans.stream[following] if following < len(spans) else index.stream_size
    return spans.stream[fetch.first_span], end


def _decoded(index: LayerIndex, fetch: Fetch, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
    if index.codec == "raw":
        yield from pieces
        return
    first = next((piece for piece in pieces if len(piece)), b"")
    decoder: Gunzip | Unzstd
    if index.codec == "gzip":
        bits = index.spans.bits[fetch.first_span]
        byte = first[0] if bits and first else 0
        first = first[1:] if bits else first
        decoder = Gunzip.resume(bits, byte, index.spans.window(fetch.first_span))
    elif index.codec == "zstd" or sniff(bytes(first[:8])) == "zstd":
        decoder = Unzstd()
    else:
        decoder = Gunzip(span=None)
    yield from decoder.feed(first)
    for piece in pieces:
        yield from decoder.feed(piece)


def _cut(
    chunks: Chunks, position: int, end: int, pieces: Iterator[Buffer]
) -> Generator[tuple[int, bytes], None, int]:
    """The chunks in a stream that starts at `position`; returns the first one not reached."""
    chunk, count = bisect_left(chunks.stream, position), len(chunks)
    part = bytearray()
    for piece in pieces:
        view = memoryview(piece)[: end - position]
        reached = position + len(view)
        while chunk < count and chunks.stream[chunk] + len(part) < reached:
            length = chunks.length[chunk]
            start = chunks.stream[chunk] + len(part) - position
            taken = view[start : start + length - len(part)]
            if len(taken) == length:
                yield chunk, bytes(taken)
            else:
                part += taken
                if len(part) < length:
                    break
                yield chunk, bytes(part)
                part.clear()
            chunk += 1
        position = reached
        if position >= end or chunk == count:
            break
    return chunk
