"""gzip, whole with checkpoints or from a checkpoint on. Knows members, not tars; keeps no output.

Sources: RFC 1952; zlib's examples/zran.c. A checkpoint is a deflate block's start: where it is in
stream and blob, how many bits of the byte before belong to it, and the 32 KiB of stream before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from imagefs.formats import libz
from imagefs.formats.index import Buffer, FormatError

#: Stream bytes between checkpoints, at least; a checkpoint costs up to 32 KiB.
SPAN = 2 << 20
_OUTPUT = 512 << 10
_TRAILER = 8
Checkpoint = tuple[int, int, int, bytes]


class Gunzip:
    """Decodes gzip members fed in pieces; zlib verifies each whole member's CRC and length.

    Zero bytes after a member's end are padding; anything else there raises FormatError.
    `checkpoints` fills up at least `span` bytes of stream apart; None makes none.
    """

    def __init__(self, span: int | None = SPAN, window_bits: int = libz.GZIP) -> None:
        self._span = span
        self._inflate = libz.Inflate(window_bits, _OUTPUT)
        self._raw = window_bits == libz.RAW
        self._in_member = self._raw
        self._first = True
        self._padded = False
        self._trailer = 0
        self._fed = 0
        self._produced = 0
        self._next_point = 0
        self.checkpoints: list[Checkpoint] = []

    @classmethod
    def resume(cls, bits: int, byte: int, window: bytes) -> Self:
        """A decoder for the blob from a checkpoint on; `byte` is the one before it."""
        decoder = cls(None, libz.RAW)
        decoder._inflate.start_at(bits, byte, window)
        return decoder

    def feed(self, data: Buffer) -> Iterator[memoryview]:
        """What the next bytes of the blob decode to; a piece is valid until the next one."""
        inflate = self._inflate
        inflate.give(data)
        self._fed += len(data)
        while True:
            self._trailer -= inflate.skip(self._trailer)
            if not self._in_member and not self._begin_member():
                return
            piece, ended = self._run()
            if piece:
                yield piece
            if ended:
                self._end_member()
            elif not piece and not inflate.unused:
                return

    def _begin_member(self) -> bool:
        """False where nothing, or only padding, is left of what was fed."""
        if self._trailer or not self._inflate.unused:
            return False
        if not self._first:
            self._padded = bool(self._inflate.skip_zeros()) or self._padded
            if self._padded and self._inflate.unused:
                at = self._fed - self._inflate.unused
                raise FormatError(f"gzip: garbage after the end, at byte {at}")
        self._in_member = not self._padded
        return self._in_member

    def _end_member(self) -> None:
        # zlib takes the trailer of a gzip member, but not that of a raw stream.
        self._trailer = _TRAILER if self._raw else 0
        self._raw = self._in_member = self._first = False
        self._inflate.reset(libz.GZIP)

    def _run(self) -> tuple[memoryview, bool]:
        if self._span is None:
            return self._inflate.run(libz.NO_FLUSH, _OUTPUT)
        missing = self._next_point - self._produced
        if missing > 0:
            piece, ended = self._inflate.run(libz.NO_FLUSH, missing)
            self._produced += len(piece)
            return piece, ended
        piece, ended = self._inflate.run(libz.BLOCK, _OUTPUT)
        self._produced += len(piece)
        bits = None if ended else self._inflate.block_end()
        if bits is not None:
            at = self._fed - self._inflate.unused
            self.checkpoints.append((self._produced, at, bits, self._inflate.window()))
            self._next_point = self._produced + self._span
        return piece, ended

    def finish(self) -> None:
        """The blob has ended; FormatError if within a member."""
        if self._in_member or self._first:
            raise FormatError(f"gzip: truncated after {self._fed} bytes")
