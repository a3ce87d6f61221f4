"""A push whose destination fails in the middle says so, and shows and keeps nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable

import pytest

from imagefs.errors import ImagefsError
from imagefs.image.push import PushOptions, push
from imagefs.registry.blobs import BlobInfo, BlobRef
from imagefs.testing.transports import MemoryDestination, MemoryRegistry

from .conftest import BASE, Bench, make_tar

LAYERS = [make_tar({f"{n}": os.urandom(4 << 20)}) for n in range(3)]
NAME = "docker://other.example/copy:1"


class Broken(ImagefsError):
    """What the destination says."""


class Breaking(MemoryDestination):
    """Breaks after some pieces of any blob."""

    pieces = 0

    async def put_blob(self, chunks: AsyncIterable[bytes], ref: BlobRef | None) -> BlobInfo:
        async def some() -> AsyncIterable[bytes]:
            left = self.pieces
            async for chunk in chunks:
                if not left:
                    raise Broken("no room")
                left -= 1
                yield chunk

        return await super().put_blob(some(), ref)


@pytest.mark.parametrize("pieces", [0, 1, 3])
@pytest.mark.parametrize("sources", ["known", "gone"])
async def test_the_destinations_own_error_is_told(bench: Bench, pieces: int, sources: str) -> None:
    manifest = bench.publish(BASE, *LAYERS)
    image = await bench.pull(BASE)
    if sources == "gone":
        bench.registry.blobs.clear()
    elsewhere = MemoryRegistry()
    destination = Breaking(elsewhere, NAME)
    destination.pieces = pieces
    with pytest.raises(Broken, match="no room"):
        await push(bench.store, image, destination, PushOptions())
    assert NAME not in elsewhere.names
    assert NAME not in bench.store.locations.get(manifest.layers[0].digest)
