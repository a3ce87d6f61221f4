"""From blob bytes to verified chunks in the store: the part of fetching that computes. No network.

Decoding and hashing release the interpreter lock, so larger pieces go to a worker thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import trio

from imagefs.content.sources import BlobStream
from imagefs.content.tasks import tasks
from imagefs.formats.plan import Fetch, decode, plan
from imagefs.registry.blobs import BlobInfo
from imagefs.store import StoredLayer

_IN_PLACE = 1 << 16


def blob_of(layer: StoredLayer) -> BlobInfo:
    """The blob that `layer` is an index of."""
    return BlobInfo(layer.index.blob_digest, layer.index.blob_size)


async def store_fetch(layer: StoredLayer, fetch: Fetch, blob: bytes) -> None:
    """Store every chunk that `blob`, the bytes of `fetch`, holds whole.

    Raises VerifyError for wrong bytes and OSError when the disk is full; good chunks are kept.
    """
    if len(blob) <= _IN_PLACE:
        _store(layer, fetch, blob)
        await trio.lowlevel.checkpoint()
    else:
        await trio.to_thread.run_sync(_store, layer, fetch, blob)


def _store(layer: StoredLayer, fetch: Fetch, blob: bytes | Iterable[bytes]) -> None:
    for chunk, data in decode(layer.index, fetch, blob):
        if not layer.present(chunk):
            layer.put(chunk, data)


async def store_stream(layer: StoredLayer, source: BlobStream) -> None:
    """Store every chunk of a layer that can be decoded only from its start."""
    blob = blob_of(layer)
    send, receive = trio.open_memory_channel[bytes](4)

    def pieces() -> Iterator[bytes]:
        while True:
            try:
                yield trio.from_thread.run(receive.receive)
            except trio.EndOfChannel:
                return

    def decode_all() -> None:
        (fetch,) = plan(layer.index, range(len(layer.index.chunks)))
        _store(layer, fetch, pieces())

    async def work() -> None:
        with receive:
            await trio.to_thread.run_sync(decode_all)

    async with tasks() as nursery:
        nursery.start_soon(work)
        async with send, source.open_blob(blob) as incoming:
            async for piece in incoming:
                try:
                    await send.send(piece)
                except trio.BrokenResourceError:
                    break  # the last chunk is here; a long tail of the tar may follow it
