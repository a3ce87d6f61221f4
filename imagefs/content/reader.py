"""Reads of layer content by (layer, offset in its data file). Never returns a byte that was not
verified.

What a mount's server uses: `pread_nowait` answers from the store, `pread` fetches what is missing
first.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from imagefs.content.fetcher import LayerFetcher
from imagefs.content.readahead import ReadAhead
from imagefs.store import StoredLayer


class FetchingReader:
    """The content of a stack of layers, fetched as it is read."""

    def __init__(self, layers: Sequence[StoredLayer], fetchers: Sequence[LayerFetcher]) -> None:
        self._layers = layers
        self._fetchers = fetchers
        self._ahead = [ReadAhead(layer.index.chunks) for layer in layers]

    def pread_nowait(self, layer: int, offset: int, length: int) -> bytes | None:
        """`length` bytes at `offset` of the layer's data file; None where some must be fetched."""
        stored = self._layers[layer]
        if stored.missing(offset, length):
            return None
        return stored.read(offset, length)

    async def pread(self, layer: int, offset: int, length: int) -> bytes:
        """Like `pread_nowait`, but fetches first.

        Raises ContentUnavailable (EIO) when the bytes can't be had within the retry budget.
        """
        stored = self._layers[layer]
        while missing := stored.missing(offset, length):
            wanted = range(missing[0], missing[-1] + 1)
            await self._fetchers[layer].ensure(self._ahead[layer].extend(wanted))
        await trio.lowlevel.checkpoint()
        return stored.read(offset, length)
