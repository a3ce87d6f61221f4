"""The first pass over a layer nobody has seen: one stream gives the index and the content.

Never slower than a pull: hashing, inflating and writing run in a worker thread while the next bytes
come in. Leaves nothing behind unless the whole blob was read and verified.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from imagefs.content.sources import BlobStream
from imagefs.content.tasks import tasks
from imagefs.formats.index import FormatError
from imagefs.formats.scan import LayerScanner
from imagefs.registry.blobs import BlobRef
from imagefs.store import LayerKey, LayerWriter, Store
from imagefs.system.locks import lock_path

_BATCH = 1 << 20
_AHEAD = 8
_LOOK_AGAIN = 0.05

#: Called with the number of bytes of the blob that came in.
Progress = Callable[[int], None]


async def scan_layer(
    store: Store, source: BlobStream, blob: BlobRef, progress: Progress = lambda _: None
) -> LayerKey:
    """The key of the layer `blob`, which is read whole unless the store has its index.

    Processes that want the same blob at once read it once. Raises what the source raises,
    FormatError for a blob that is no layer, and OSError when the disk is full.
    """
    async with _alone(store, blob):
        known = store.layers.find(blob.digest)
        if known is not None:
            return known
        with store.layers.create() as writer, _named(blob):
            scanner = LayerScanner("auto", writer, blob.digest.algorithm)
            await _feed(scanner, source, blob, progress)
            return await trio.to_thread.run_sync(_finish, scanner, writer)


@contextmanager
def _named(blob: BlobRef) -> Iterator[None]:
    """Let what is wrong with a blob say which blob."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"layer {blob.digest}: {error}") from None


@asynccontextmanager
async def _alone(store: Store, blob: BlobRef) -> AsyncIterator[None]:
    path = store.root / "locks" / f"scan-{blob.digest.hex}"
    while (lock := lock_path(path, wait=False, create=True)) is None:  # noqa: ASYNC110 - it is a process we wait for
        await trio.sleep(_LOOK_AGAIN)
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


async def _feed(
    scanner: LayerScanner, source: BlobStream, blob: BlobRef, progress: Progress
) -> None:
    send, receive = trio.open_memory_channel[bytes](_AHEAD)

    async def read() -> None:
        batch = bytearray()
        async with send, source.open_blob(blob) as pieces:
            async for piece in pieces:
                progress(len(piece))
                batch += piece
                if len(batch) >= _BATCH:
                    await send.send(bytes(batch))
                    batch.clear()
            await send.send(bytes(batch))

    async with tasks() as nursery:
        nursery.start_soon(read)
        async for batch in receive:
            await trio.to_thread.run_sync(scanner.feed, batch)


def _finish(scanner: LayerScanner, writer: LayerWriter) -> LayerKey:
    return writer.commit(scanner.finish())
