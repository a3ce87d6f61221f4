"""zstd frames, whole or from a frame on. Knows frames, not tars; keeps no output.

Source: RFC 8878. Decoding can start at any frame; skippable frames have no output.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator

from imagefs.formats.index import Buffer, FormatError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

MAGIC = b"\x28\xb5\x2f\xfd"
#: Stream bytes between the frames that are noted, at least.
SPAN = 128 << 10
# The decoder copies what follows a frame: many frames in a large piece would be quadratic.
_SLICE = 64 << 10
_OUTPUT = 512 << 10
_HEAD = 8


def is_skippable(head: Buffer) -> bool:
    """Whether a frame that starts with these four bytes or more is a skippable one."""
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and bytes(head[1:4]) == b"\x2a\x4d\x18"


class Unzstd:
    """Decodes zstd frames fed in pieces. `frames` are (stream offset, blob offset), SPAN apart."""

    def __init__(self) -> None:
        self._decoder: ZstdDecompressor | None = None
        self._head = b""
        self._skip = 0
        self._taken = 0
        self._produced = 0
        self.frames: list[tuple[int, int]] = []

    def feed(self, data: Buffer) -> Iterator[bytes]:
        """The output for the next bytes of the blob, in pieces of bounded size."""
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):
            piece = bytes(view[start : start + _SLICE])
            while piece:
                if self._decoder is not None:
                    piece = yield from self._decode(self._decoder, piece)
                elif self._skip:
                    taken = min(self._skip, len(piece))
                    self._skip -= taken
                    self._taken += taken
                    piece = piece[taken:]
                else:
                    piece = self._begin(self._head + piece)

    def _begin(self, piece: bytes) -> bytes:
        """Start a frame once its first eight bytes are here; no frame is shorter."""
        if len(piece) < _HEAD:
            self._head = piece
            return b""
        self._head = b""
        if is_skippable(piece):
            self._skip = _HEAD + int.from_bytes(piece[4:_HEAD], "little")
        elif piece[:4] == MAGIC:
            self._decoder = ZstdDecompressor()
            if not self.frames or self._produced - self.frames[-1][0] >= SPAN:
                self.frames.append((self._produced, self._taken))
        else:
            raise FormatError(f"zstd: no frame starts at byte {self._taken}")
        return piece

    def _decode(self, decoder: ZstdDecompressor, piece: bytes) -> Generator[bytes, None, bytes]:
        """Decode to the end of the frame or of `piece`; returns what follows the frame."""
        rest = piece
        while True:
            try:
                output = decoder.decompress(rest, _OUTPUT)
            except ZstdError as error:
                raise FormatError(f"zstd: frame before byte {self._taken}: {error}") from None
            rest = b""
            if output:
                self._produced += len(output)
                yield output
            if decoder.eof:
                unused = decoder.unused_data
                self._decoder = None
                self._taken += len(piece) - len(unused)
                return unused
            if decoder.needs_input:
                self._taken += len(piece)
                return b""

    def finish(self) -> None:
        """The blob has ended; FormatError if within a frame."""
        if self._decoder is not None or self._head or self._skip or not self._taken:
            raise FormatError(f"zstd: truncated after {self._taken + len(self._head)} bytes")
