"""Brings chosen content of an image into the store, for callers that are synchronous. Waits."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from imagefs.content.fetcher import LayerFetcher
from imagefs.content.opening import open_places
from imagefs.content.tasks import tasks
from imagefs.store import Store, StoredLayer
from imagefs.transport import Access
from imagefs.tree import Content


def fetch(
    store: Store,
    layers: Sequence[StoredLayer],
    contents: Sequence[Content],
    access: Access,
    home: str,
) -> None:
    """Return when all of `contents`, places in `layers`, is there; `home` is the image's name.

    Raises ContentUnavailable when the retry budget of `access` is used up.
    """
    trio.run(
        _fetch,
        store,
        layers,
        contents,
        access,
        home,
        restrict_keyboard_interrupt_to_checkpoints=True,
    )


async def _fetch(
    store: Store,
    layers: Sequence[StoredLayer],
    contents: Sequence[Content],
    access: Access,
    home: str,
) -> None:
    async with open_places(store, access, home) as places, tasks() as nursery:
        for number, layer in enumerate(layers):
            wanted = {
                chunk
                for content in contents
                if content.layer == number
                for chunk in layer.missing(content.offset, content.size)
            }
            fetcher = LayerFetcher(layer, places.of(layer.key.blob), access.retry_budget)
            nursery.start_soon(fetcher.ensure, sorted(wanted))
