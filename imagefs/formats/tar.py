"""A tar stream, fed in pieces, told as entries, content and the rest. Opens and keeps nothing.

Theory of operation. The parser is in one state; each state is a method that takes bytes from a view
and returns where it stopped:

    state        takes                                    goes to
    _header      one 512-byte block                       all but _trailer
    _gather      payload of L, K, x                       _skip (its padding), _header
    _sparse      continuation blocks of an S header       _content
    _sparse_text the map that leads content in PAX 1.0    _content
    _content     the runs of data of a regular file       _skip, _header
    _skip        padding, and payload that nobody needs   _header
    _ended       the block after a first block of zeros   _trailer
    _trailer     everything else                          -

Each byte is handed on exactly once, in stream order: as `content` or as `skeleton`. Where tars
disagree, names and numbers are those of Go's archive/tar, which the engines use. The zero blocks at
the end may be missing, as with all of them, but not a byte before.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from imagefs.formats import pax, tarheader
from imagefs.formats.index import DATA_ALIGNMENT, Buffer, Entry, FormatError
from imagefs.formats.sparse import MapText, check_runs
from imagefs.formats.tarfields import BLOCK, ZERO_BLOCK, number, text

#: Bound of a long name or an extended header, as in Go.
EXTENSION_MAX = 1 << 20
#: EROFS addresses 2**32 blocks of 4 KiB.
DATA_MAX = 1 << 44
_FOREIGN = {
    b"BZh": "; it is compressed with bzip2, use gzip or zstd",
    b"\xfd7zXZ": "; it is compressed with xz, use gzip or zstd",
}
_NO_OVERRIDES = tarheader.Overrides(None, None, {})
_LONG_NAME, _LONG_LINK = ord("L"), ord("K")
_PAX, _SOLARIS_PAX = ord("x"), ord("X")
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _SOLARIS_PAX))
# The engines leave global extended headers unheeded (Go gives them to callers, who drop them).
_GLOBAL_PAX, _VOLUME_LABEL, _CONTINUED = ord("g"), ord("V"), ord("M")
#: Runs of an old GNU sparse file; about as many as fit in the map of a PAX one.
_RUNS_MAX = 1 << 17


class TarEvents(Protocol):
    """Who is told. Views are valid during the call only."""

    def entry(self, entry: Entry) -> None:
        """An entry, before its content."""

    def content(self, data: memoryview, data_offset: int, stream_offset: int, left: int) -> None:
        """A piece of a run of file content; `left` bytes of the run remain, this piece included."""

    def skeleton(self, data: Buffer) -> None:
        """A piece of all else."""


class TarParser:
    """Feed it a tar; it raises FormatError where the stream is none, and must not be fed after."""

    def __init__(self, events: TarEvents) -> None:
        self._events = events
        self._step: Callable[[memoryview, int, int], int] = self._header
        self._base = 0
        self._data_end = 0
        self._block = bytearray()
        self._left = 0
        self._name = b""
        self._entry_at = 0
        self._gathered = bytearray()
        self._gather_done: Callable[[bytes], None] = self._long_name
        self._overrides = _NO_OVERRIDES
        self._own: list[tuple[bytes, bytes]] = []
        self._run_at = 0
        self._run_left = 0
        self._runs: Iterator[tuple[int, int]] = iter(())
        self._payload = 0
        self._padding = 0
        self._sparse_size = 0
        self._map_text = MapText()
        self._sparse_runs: pax.Runs = []

    @property
    def stream_size(self) -> int:
        """Bytes fed so far."""
        return self._base

    @property
    def data_size(self) -> int:
        """Size of the data file so far, a multiple of 4 KiB."""
        return self._data_end

    def feed(self, data: Buffer) -> None:
        """The next bytes of the stream, in pieces of any size; large ones are faster."""
        view = memoryview(data)
        position, end = 0, len(view)
        while position < end:
            position = self._step(view, position, end)
        self._base += end

    def finish(self) -> None:
        """The stream has ended."""
        if self._step == self._ended:
            self._events.skeleton(bytes(self._block))
        elif self._step != self._trailer and (
            self._step != self._header or self._block or self._overrides is not _NO_OVERRIDES
        ):
            raise FormatError(
                f"tar: truncated after {self._base} bytes, in or after entry {self._name!r}"
            )

    def _fail(self, what: object) -> NoReturn:
        raise FormatError(f"tar: entry {self._name!r} at byte {self._entry_at}: {what}")

    def _take_block(self, view: memoryview, position: int, end: int) -> tuple[bytes | None, int]:
        """One block, or None and the part of it that is here kept for the next feed."""
        if not self._block and end - position >= BLOCK:
            return bytes(view[position : position + BLOCK]), position + BLOCK
        taken = min(end, position + BLOCK - len(self._block))
        self._block += view[position:taken]
        if len(self._block) < BLOCK:
            return None, taken
        block = bytes(self._block)
        self._block.clear()
        return block, taken

    # Headers.

    def _header(self, view: memoryview, position: int, end: int) -> int:
        block, position = self._take_block(view, position, end)
        if block is None:
            return position
        if not block[0] and block == ZERO_BLOCK:
            if self._overrides is not _NO_OVERRIDES:
                self._fail("the archive ends after its extended header")
            self._step = self._ended
            self._block += block
            return position
        self._entry_at = self._base + position - BLOCK
        self._name = text(block[:100])
        try:
            self._on_header(block, self._read_header(block))
        except ValueError as error:
            self._fail(error)
        self._events.skeleton(block)
        return position

    def _read_header(self, block: bytes) -> tarheader.Header:
        try:
            return tarheader.read_header(block)
        except ValueError as error:
            if self._entry_at:
                raise
            hint = next((hint for magic, hint in _FOREIGN.items() if block.startswith(magic)), "")
            raise FormatError(f"not a tar archive: {error}{hint}") from None

    def _on_header(self, block: bytes, header: tarheader.Header) -> None:
        kind = header.type
        if kind in tarheader.KINDS:
            self._member(block, header)
        elif kind in _EXTENSIONS:
            if header.size > EXTENSION_MAX:
                raise ValueError(f"an extended header of {header.size} bytes is too long")
            done = {_LONG_NAME: self._long_name, _LONG_LINK: self._long_link}
            self._start_gather(header.size, done.get(kind, self._pax_records))
        elif kind in (_GLOBAL_PAX, _VOLUME_LABEL):
            self._start_skip(header.size)
        elif kind == _CONTINUED:
            raise ValueError("it continues another volume; join the volumes first")
        else:
            raise ValueError(f"entries of type {chr(kind)!r} are unknown")

    def _member(self, block: bytes, header: tarheader.Header) -> None:
        more = self._overrides
        if self._own:
            more = more._replace(pax=pax.merged(self._own))
        self._overrides = _NO_OVERRIDES
        self._own = []
        payload = tarheader.payload_size(header, more.pax)
        if header.type == tarheader.SPARSE or (more.pax and pax.is_sparse(more.pax)):
            self._sparse_member(block, header, more, payload)
            return
        size = payload if tarheader.KINDS[header.type] == stat.S_IFREG else 0
        at = self._allocate(size) if size else 0
        entry = tarheader.entry_of(header, block, more, size, at)
        self._name = entry.path
        self._events.entry(entry)
        if not size:
            self._start_skip(payload)
            return
        self._run_at = at
        self._run_left = size
        self._padding = -size % BLOCK
        self._step = self._content

    def _allocate(self, size: int) -> int:
        at = self._data_end
        self._data_end = at + size + -size % DATA_ALIGNMENT
        if self._data_end > DATA_MAX:
            raise ValueError("the layer's files are larger than 16 TiB together")
        return at

    # Extensions.

    def _start_gather(self, size: int, done: Callable[[bytes], None]) -> None:
        self._left = size
        self._padding = -size % BLOCK
        self._gather_done = done
        self._gathered = bytearray()
        self._step = self._gather
        if not size:
            self._finish_gather()

    def _gather(self, view: memoryview, position: int, end: int) -> int:
        taken = min(end, position + self._left)
        piece = view[position:taken]
        self._gathered += piece
        self._events.skeleton(piece)
        self._left -= len(piece)
        if not self._left:
            try:
                self._finish_gather()
            except ValueError as error:
                self._fail(error)
        return taken

    def _finish_gather(self) -> None:
        payload = bytes(self._gathered)
        self._gathered = bytearray()
        self._start_padding()
        self._gather_done(payload)

    def _long_name(self, payload: bytes) -> None:
        self._overrides = self._overrides._replace(name=text(payload))

    def _long_link(self, payload: bytes) -> None:
        self._overrides = self._overrides._replace(link=text(payload))

    def _pax_records(self, payload: bytes) -> None:
        self._own = pax.records(payload)
        self._overrides = self._overrides._replace()

    # Sparse files.

    def _sparse_member(
        self, block: bytes, header: tarheader.Header, more: tarheader.Overrides, payload: int
    ) -> None:
        old = header.type == tarheader.SPARSE
        size = number(block[483:495]) if old else pax.sparse_size(more.pax)
        if not 0 <= size <= DATA_MAX:
            raise ValueError("the sparse file's size is out of range")
        if tarheader.KINDS[header.type] != stat.S_IFREG:
            raise ValueError("only a regular file can be sparse")
        entry = tarheader.entry_of(header, block, more, size, self._allocate(size) if size else 0)
        self._name = entry.path
        self._events.entry(entry)
        self._payload = payload
        self._padding = -payload % BLOCK
        self._sparse_size = size
        self._run_at = entry.data_offset
        runs = tarheader.sparse_header_runs(block) if old else pax.sparse_map(more.pax)
        if runs is None:
            self._map_text = MapText()
            self._step = self._sparse_text
            return
        self._sparse_runs = runs
        if old and block[482]:
            self._step = self._sparse
        else:
            self._start_runs()

    def _sparse(self, view: memoryview, position: int, end: int) -> int:
        block, position = self._take_block(view, position, end)
        if block is None:
            return position
        self._events.skeleton(block)
        try:
            self._sparse_runs += tarheader.sparse_block_runs(block)
            if len(self._sparse_runs) > _RUNS_MAX:
                raise ValueError("the sparse map does not end")
            if not block[504]:
                self._start_runs()
        except ValueError as error:
            self._fail(error)
        return position

    def _sparse_text(self, view: memoryview, position: int, end: int) -> int:
        """The decimal map, a number a line in whole blocks, that leads the content in PAX 1.0."""
        block, position = self._take_block(view, position, end)
        if block is None:
            return position
        self._events.skeleton(block)
        self._payload -= BLOCK
        try:
            if self._payload < 0:
                raise ValueError("the sparse map does not end")
            runs = self._map_text.add(block)
            if runs is not None:
                self._sparse_runs = runs
                self._start_runs()
            elif not self._payload:
                raise ValueError("the sparse map does not end")
        except ValueError as error:
            self._fail(error)
        return position

    def _start_runs(self) -> None:
        check_runs(self._sparse_runs, self._sparse_size, self._payload)
        base = self._run_at
        self._runs = iter([(base + at, length) for at, length in self._sparse_runs if length])
        self._sparse_runs = []
        self._next_run()

    def _next_run(self) -> None:
        following = next(self._runs, None)
        if following is None:
            self._start_padding()
        else:
            self._run_at, self._run_left = following
            self._step = self._content

    # Content and the rest.

    def _content(self, view: memoryview, position: int, end: int) -> int:
        left = self._run_left
        taken = min(end, position + left)
        piece = view[position:taken]
        self._events.content(piece, self._run_at, self._base + position, left)
        size = taken - position
        if size == left:
            self._next_run()
        else:
            self._run_at += size
            self._run_left = left - size
        return taken

    def _start_skip(self, size: int) -> None:
        self._padding = size + -size % BLOCK
        self._start_padding()

    def _start_padding(self) -> None:
        self._left = self._padding
        self._step = self._skip if self._left else self._header

    def _skip(self, view: memoryview, position: int, end: int) -> int:
        taken = min(end, position + self._left)
        self._events.skeleton(view[position:taken])
        self._left -= taken - position
        if not self._left:
            self._step = self._header
        return taken

    def _ended(self, view: memoryview, position: int, end: int) -> int:
        taken = min(end, position + 2 * BLOCK - len(self._block))
        self._block += view[position:taken]
        if len(self._block) == 2 * BLOCK:
            if self._block[BLOCK:] != ZERO_BLOCK:
                self._fail("a single block of zeros stands between entries")
            self._events.skeleton(bytes(self._block))
            self._step = self._trailer
        return taken

    def _trailer(self, view: memoryview, position: int, end: int) -> int:
        self._events.skeleton(view[position:end])
        return end
