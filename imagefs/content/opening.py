"""A mount's reader from what the store knows of it: its layers and where their blobs can be had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

from imagefs.content.fetcher import LayerFetcher
from imagefs.content.reader import FetchingReader
from imagefs.content.sources import Sources
from imagefs.oci.digest import Digest
from imagefs.store import LayerKey, Store
from imagefs.transport import Access, ImageSource, open_source, parse_image_name

_ONE_TRY = 0.5  # seconds


@asynccontextmanager
async def open_reader(
    store: Store, layers: Sequence[LayerKey], access: Access, home: str
) -> AsyncIterator[FetchingReader]:
    """The content of `layers`, fetched as it is read from where their blobs are known to be.

    `home` is the image's name: see `Places`. Layers stay open, and so in the store, as long as the
    block lasts.
    """
    # The fetcher waits, once for all readers; a source that waits too would double the budget.
    impatient = replace(access, retry_budget=_ONE_TRY)
    with ExitStack() as stack:
        opened = [stack.enter_context(store.layers.open(key)) for key in layers]
        async with open_places(store, impatient, home) as places:
            fetchers = [
                LayerFetcher(layer, places.of(layer.key.blob), access.retry_budget)
                for layer in opened
            ]
            yield FetchingReader(opened, fetchers)


class Places:
    """Where each blob is known to be; layers of one image share their connections.

    Credentials given on the command line are for the registry of `home`, an image's name, and are
    shown to no other.
    """

    def __init__(self, store: Store, access: Access, home: str) -> None:
        self._store = store
        self._access = access
        self._registry = _registry_of(home)
        self._sources: dict[tuple[str, ...], Sources] = {}

    def of(self, blob: Digest) -> Sources:
        """The places of one blob: those of `home`'s registry first, then the one seen last."""
        known = self._store.locations.get(blob)
        names = tuple(sorted(known, key=lambda name: _registry_of(name) != self._registry))
        if names not in self._sources:
            self._sources[names] = Sources(names, self._opener)
        return self._sources[names]

    def _opener(self, name: str) -> ImageSource:
        foreign = _registry_of(name) != self._registry
        access = replace(self._access, creds=None) if foreign else self._access
        return open_source(parse_image_name(name), access)

    async def aclose(self) -> None:
        """Close what was opened."""
        for sources in self._sources.values():
            await sources.aclose()


def _registry_of(name: str) -> str:
    return "" if name.startswith("oci:") else name.removeprefix("docker://").partition("/")[0]


@asynccontextmanager
async def open_places(store: Store, access: Access, home: str) -> AsyncIterator[Places]:
    """The places of blobs, closed at the end."""
    places = Places(store, access, home)
    try:
        yield places
    finally:
        await places.aclose()
