"""The system's zlib by ctypes, for what Python's own binding hides. Knows no members, no layers.

What is hidden there: block ends, priming, reading the dictionary back. Calls release the GIL.
Source: zlib.h, and examples/zran.c for the meaning of `data_type`.
"""

from __future__ import annotations

import ctypes
from functools import cache

from imagefs.formats.index import Buffer, FormatError

RAW = -15
GZIP = 31
NO_FLUSH = 0
BLOCK = 5
WINDOW = 1 << 15
_OK, _STREAM_END, _BUF_ERROR = 0, 1, -5


class _Stream(ctypes.Structure):
    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


@cache
def _zlib() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libz.so.1")
    except OSError as error:
        raise FormatError(f"gzip layers need zlib; install zlib1g: {error}") from None
    library.zlibVersion.restype = ctypes.c_char_p
    return library


class Inflate:
    """One inflater over one output buffer, which each call to `run` fills from its start.

    Raises FormatError where the data is damaged.
    """

    def __init__(self, window_bits: int, output_size: int) -> None:
        self._stream = _Stream()
        self._library = _zlib()
        self._output = bytearray(output_size)
        self._output_view = memoryview(self._output)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._output))
        self._output_address = address
        self._input: bytes = b""
        self._check(
            self._library.inflateInit2_(
                ctypes.byref(self._stream),
                window_bits,
                self._library.zlibVersion(),
                ctypes.sizeof(_Stream),
            )
        )

    def __del__(self) -> None:
        if self._stream.state:
            self._library.inflateEnd(ctypes.byref(self._stream))

    def _check(self, code: int) -> None:
        if code not in (_OK, _STREAM_END, _BUF_ERROR):
            reason = (self._stream.msg or b"the data is damaged").decode("ascii", "replace")
            raise FormatError(f"gzip: {reason} (zlib error {code})")

    def give(self, data: Buffer) -> None:
        """The next input; all of the last must have been used."""
        # ctypes reads the bytes in place, so they must stay alive.
        self._input = data if isinstance(data, bytes) else bytes(data)
        self._stream.next_in = ctypes.cast(ctypes.c_char_p(self._input), ctypes.c_void_p).value
        self._stream.avail_in = len(self._input)

    @property
    def unused(self) -> int:
        """Bytes of the input that are not used yet."""
        return int(self._stream.avail_in)

    def skip(self, count: int) -> int:
        """Leave out up to `count` bytes of input, and say how many."""
        count = min(count, self.unused)
        self._stream.next_in += count
        self._stream.avail_in -= count
        return count

    def skip_zeros(self) -> int:
        """Leave out zero bytes at the front of the input, and say how many."""
        start = len(self._input) - self.unused
        if self._input[start : start + 1] != b"\0":
            return 0
        rest = self._input[start:]
        return self.skip(len(rest) - len(rest.lstrip(b"\0")))

    def run(self, flush: int, limit: int) -> tuple[memoryview, bool]:
        """Inflate to at most `limit` bytes: (output, whether the member or deflate stream ended).

        The output is valid until the next call. It is empty where more input is needed, or where a
        block's end was met at once.
        """
        stream = self._stream
        limit = min(limit, len(self._output))
        stream.next_out = self._output_address
        stream.avail_out = limit
        code = self._library.inflate(ctypes.byref(stream), flush)
        self._check(code)
        return self._output_view[: limit - stream.avail_out], code == _STREAM_END

    def block_end(self) -> int | None:
        """After a run with BLOCK: the unused bits of the last byte at a block's end, else None.

        The last block of a deflate stream does not count: nothing can start there.
        """
        kind = self._stream.data_type
        return kind & 7 if kind & 128 and not kind & 64 else None

    def window(self) -> bytes:
        """The up to 32 KiB of output that what follows may refer to."""
        buffer = ctypes.create_string_buffer(WINDOW)
        size = ctypes.c_uint(WINDOW)
        self._check(
            self._library.inflateGetDictionary(
                ctypes.byref(self._stream), buffer, ctypes.byref(size)
            )
        )
        return buffer.raw[: size.value]

    def start_at(self, bits: int, byte: int, window: bytes) -> None:
        """Prepare a raw inflater for a block that starts `bits` bits before the next byte."""
        if bits:
            self._check(
                self._library.inflatePrime(ctypes.byref(self._stream), bits, byte >> (8 - bits))
            )
        if window:
            self._check(
                self._library.inflateSetDictionary(
                    ctypes.byref(self._stream), window, min(len(window), WINDOW)
                )
            )

    def reset(self, window_bits: int) -> None:
        """Begin a new stream with the input that is left."""
        self._check(self._library.inflateReset2(ctypes.byref(self._stream), window_bits))
