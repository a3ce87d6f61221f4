"""A mount's reader from what the store knows of it: its layers and where their blobs can be had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

from imagefs.content.fetcher import RETRY_BUDGET, LayerFetcher
from imagefs.content.reader import FetchingReader
from imagefs.content.sources import Sources
from imagefs.oci.digest import Digest
from imagefs.store import LayerKey, Store
from imagefs.transport import Access, ImageSource, open_source, parse_image_name


@asynccontextmanager
async def open_reader(
    store: Store, layers: Sequence[LayerKey], access: Access, budget: float = RETRY_BUDGET
) -> AsyncIterator[FetchingReader]:
    """The content of `layers`, fetched as it is read from where their blobs are known to be.

    Layers stay open, and so in the store, as long as the block lasts.
    """

    def opener(name: str) -> ImageSource:
        return open_source(parse_image_name(name), access)

    places: dict[tuple[str, ...], Sources] = {}

    def sources_of(blob: Digest) -> Sources:
        names = tuple(store.locations.get(blob))
        return places.setdefault(names, Sources(names, opener))

    with ExitStack() as stack:
        opened = [stack.enter_context(store.layers.open(key)) for key in layers]
        fetchers = [
            LayerFetcher(layer, sources_of(layer.index.blob_digest), budget) for layer in opened
        ]
        try:
            yield FetchingReader(opened, fetchers)
        finally:
            for sources in places.values():
                await sources.aclose()
