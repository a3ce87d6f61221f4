"""Where the bytes of lower files come from, as the FUSE edge sees it. Holds no code that reads."""

from __future__ import annotations

from typing import Protocol


class ContentReader(Protocol):
    """Verified content of layers, by (layer, offset in its data file)."""

    def pread_nowait(self, layer: int, offset: int, length: int) -> bytes | None:
        """`length` bytes if all of them are here, else None."""

    async def pread(self, layer: int, offset: int, length: int) -> bytes:
        """`length` bytes, fetched where missing. ImagefsError (its errno is the answer) else."""
