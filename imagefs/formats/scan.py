"""One pass over a layer blob: digests, index, checkpoints, content. Opens and keeps nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from imagefs.formats.chunker import Chunker, ContentSink
from imagefs.formats.gunzip import Gunzip
from imagefs.formats.index import Buffer, Codec, Entry, FormatError, LayerIndex, Spans
from imagefs.formats.tar import TarParser
from imagefs.formats.unzstd import MAGIC as ZSTD_MAGIC
from imagefs.formats.unzstd import Unzstd, is_skippable
from imagefs.oci.digest import Digest

__all__ = ["Compression", "ContentSink", "LayerScanner", "sniff"]

Compression = Literal["auto", "none", "gzip", "zstd"]
_GZIP_MAGIC = b"\x1f\x8b\x08"
_SNIFFED = 8
_SKELETON_PIECE = 256 << 10
#: What a layer may make its readers hold in memory: entries, and bytes of names, targets, xattrs.
ENTRIES_MAX = 1 << 22
DESCRIBED_MAX = 256 << 20


class _Decoder(Protocol):
    def feed(self, data: Buffer) -> Iterator[Buffer]: ...

    def finish(self) -> None: ...


def sniff(head: bytes) -> Literal["none", "gzip", "zstd"]:
    """The compression of a blob by its first eight bytes, as the engines tell it."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC) or is_skippable(head):
        return "zstd"
    return "none"


class LayerScanner:
    """Feed it a blob from first to last byte; `finish` gives the index.

    Content goes to `sink` as the data file has it, everything else of the stream as its skeleton,
    in order. Raises FormatError for what is no such blob, and must not be fed after. Nothing is
    proved before `finish` returned and its `blob_digest` is the one that was asked for, in whose
    `algorithm` it is; a diffID is always a sha256.
    """

    def __init__(
        self, compression: Compression, sink: ContentSink, algorithm: str = "sha256"
    ) -> None:
        self._compression = compression
        self._sink = sink
        self._head = b""
        self._decoder: _Decoder | None = None
        self._algorithm = algorithm
        self._blob_hash = hashlib.new(algorithm)
        self._blob_size = 0
        self._diff_hash = hashlib.sha256()
        self._entries: list[Entry] = []
        self._described = 0
        self._skeleton = bytearray()
        self._chunker = Chunker(sink)
        self._tar = TarParser(self)
        self._started = compression != "auto"
        if self._started:
            self._start()

    def _start(self) -> None:
        if self._compression == "gzip":
            self._decoder = Gunzip()
        elif self._compression == "zstd":
            self._decoder = Unzstd()

    def feed(self, data: Buffer) -> None:
        """The next bytes of the blob, in pieces of any size; 64 KiB to 1 MiB are best."""
        self._blob_size += len(data)
        self._blob_hash.update(data)
        if not self._started:
            self._head += bytes(data)
            if len(self._head) < _SNIFFED:
                return
            data = self._sniffed()
        self._feed_decoder(data)

    def _sniffed(self) -> bytes:
        self._compression = sniff(self._head)
        self._started = True
        self._start()
        head, self._head = self._head, b""
        return head

    def _feed_decoder(self, data: Buffer) -> None:
        if self._decoder is not None:
            self._feed_stream(self._decoder.feed(data))
        elif self._algorithm != "sha256":
            self._feed_stream((data,))
        else:
            self._tar.feed(data)  # blob and stream have one digest

    def _feed_stream(self, pieces: Iterable[Buffer]) -> None:
        for piece in pieces:
            self._diff_hash.update(piece)
            self._tar.feed(piece)

    def finish(self) -> LayerIndex:
        """The blob has ended: its index. Raises FormatError if it should have gone on."""
        if not self._started:
            self._feed_decoder(self._sniffed())
        if self._decoder is not None:
            self._decoder.finish()
        self._tar.finish()
        self._chunker.flush()
        self._flush_skeleton()
        codec, spans = self._spans()
        blob = Digest(self._algorithm, self._blob_hash.hexdigest())
        one = self._decoder is None and self._algorithm == "sha256"
        return LayerIndex(
            codec=codec,
            blob_digest=blob,
            blob_size=self._blob_size,
            diff_id=blob if one else Digest("sha256", self._diff_hash.hexdigest()),
            stream_size=self._tar.stream_size,
            data_size=self._tar.data_size,
            chunks=self._chunker.chunks(),
            spans=spans,
            entries=self._entries,
        )

    def _spans(self) -> tuple[Codec, Spans]:
        if isinstance(self._decoder, Gunzip):
            return "gzip", Spans.of(self._decoder.checkpoints)
        if isinstance(self._decoder, Unzstd):
            frames = self._decoder.frames
            if len(frames) > 1:
                return "zstd", Spans.of((stream, blob, 0, b"") for stream, blob in frames)
            return "stream", Spans.of(())
        return "raw", Spans.of(())

    # What the tar parser tells.

    def entry(self, entry: Entry) -> None:
        """An entry (TarEvents)."""
        self._entries.append(entry)
        self._described += len(entry.path) + len(entry.link)
        if entry.xattrs:
            self._described += sum(len(name) + len(value) for name, value in entry.xattrs)
        if self._described > DESCRIBED_MAX or len(self._entries) > ENTRIES_MAX:
            raise FormatError(
                f"tar: the layer has more than {ENTRIES_MAX} entries, or more than "
                f"{DESCRIBED_MAX >> 20} MiB of names and extended attributes"
            )

    def content(self, data: memoryview, data_offset: int, stream_offset: int, left: int) -> None:
        """A piece of content (TarEvents)."""
        self._chunker.content(data, data_offset, stream_offset, left)

    def skeleton(self, data: Buffer) -> None:
        """A piece of all else (TarEvents)."""
        self._skeleton += data
        if len(self._skeleton) >= _SKELETON_PIECE:
            self._flush_skeleton()

    def _flush_skeleton(self) -> None:
        if self._skeleton:
            self._sink.skeleton(bytes(self._skeleton))
            self._skeleton.clear()
