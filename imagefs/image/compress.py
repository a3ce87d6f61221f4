"""Compression of a layer's tar for a push: the same tar always gives the same blob."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal

from imagefs.errors import InvalidInputError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

Format = Literal["gzip", "zstd", "none"]
GZIP_LEVEL = 6
ZSTD_LEVEL = 3
_LEVELS = {"gzip": range(-1, 10), "zstd": range(-7, 23), "none": range(1)}
_GZIP_WINDOW = 31  # a gzip header without name and time


def check_level(form: Format, level: int | None) -> None:
    """Raise InvalidInputError for a level that the format has not."""
    allowed = _LEVELS[form]
    if level is not None and level not in allowed:
        raise InvalidInputError(
            f"compression level {level}: {form} has {allowed.start} to {allowed.stop - 1}"
        )


def compress(tar: Iterable[bytes], form: Format, level: int | None = None) -> Iterator[bytes]:
    """The blob in pieces. The level is one that `check_level` lets through."""
    if form == "none":
        yield from tar
        return
    if form == "zstd":
        packer = ZstdCompressor(level=ZSTD_LEVEL if level is None else level)
        for piece in tar:
            if packed := packer.compress(piece):
                yield packed
        yield packer.flush()
        return
    gzip = zlib.compressobj(GZIP_LEVEL if level is None else level, zlib.DEFLATED, _GZIP_WINDOW)
    for piece in tar:
        if packed := gzip.compress(piece):
            yield packed
    yield gzip.flush()
