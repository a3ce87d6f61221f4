"""Brings what is missing of an image's layers into the store. Indexes nothing, names nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imagefs.content.fetcher import LayerFetcher
from imagefs.content.opening import open_places
from imagefs.image.progress import Progress
from imagefs.store import LayerKey, Store, StoredLayer
from imagefs.transport import Access

_BATCH = 32 << 20


async def complete_layers(
    store: Store, layers: Sequence[LayerKey], access: Access, home: str, progress: Progress
) -> None:
    """Return when all content of `layers` is in the store, for good (synced).

    `home` is the image's name, whose registry may see the credentials of `access`. What is here
    already is not fetched again. Raises ContentUnavailable when something can't be had.
    """
    async with open_places(store, access, home) as places:
        for key in dict.fromkeys(layers):
            with store.layers.open(key) as layer:
                missing = layer.missing(0, layer.index.data_size)
                if missing:
                    fetcher = LayerFetcher(layer, places.of(key.blob), access.retry_budget)
                    await _fetch(layer, fetcher, missing, progress)


async def _fetch(
    layer: StoredLayer, fetcher: LayerFetcher, missing: Sequence[int], progress: Progress
) -> None:
    lengths = layer.index.chunks.length
    total = sum(lengths[chunk] for chunk in missing)
    task = progress.start(f"content of {layer.key.blob.hex[:12]}", total)
    for batch, count in _batches(missing, lengths):
        await fetcher.ensure(batch)
        progress.advance(task, count)
    layer.sync()
    progress.finish(task)


def _batches(chunks: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Chunks in turns of about `_BATCH` bytes, each with its size."""
    batch: list[int] = []
    count = 0
    for chunk in chunks:
        batch.append(chunk)
        count += lengths[chunk]
        if count >= _BATCH:
            yield batch, count
            batch, count = [], 0
    if batch:
        yield batch, count
