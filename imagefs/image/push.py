"""From the store to a registry or a layout, each layer the cheapest way. Changes no local image.

For each layer, in this order:

1. the destination has it, as it is or as an earlier push compressed it;
2. the destination mounts it from another repository where it is known to be;
3. it goes from where it is known to be, blob to blob, without touching the disk;
4. its tar is made again from the store, whole and proved, and compressed: the manifest then has
   another digest for it. That is the way of every layer that was committed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from imagefs.content.opening import Places, open_places
from imagefs.content.tasks import tasks
from imagefs.errors import ImagefsError, InvalidInputError
from imagefs.formats.rebuild import rebuild_tar
from imagefs.image.compress import Format, check_level, compress
from imagefs.image.documents import Documents, read_image, retyped
from imagefs.image.progress import Progress, Silent
from imagefs.oci import media_types
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest
from imagefs.oci.manifest import Manifest
from imagefs.store import Image, LayerKey, Store, StoredLayer, VerifyError
from imagefs.transport import Access, ImageDestination

_AT_ONCE = 2
_AHEAD = 16
_MANIFESTS = {"oci": media_types.OCI_MANIFEST, "v2s2": media_types.DOCKER_MANIFEST}


class LayersUnavailable(ImagefsError):
    """Layers that no known place has and that are not whole in the store."""


@dataclass(frozen=True)
class PushOptions:
    """podman-push(1)'s options; `access` is for the places that layers come from."""

    compression: Format = "gzip"
    level: int | None = None
    format: str | None = None
    access: Access = field(default_factory=Access)
    progress: Progress = field(default_factory=Silent)


async def push(
    store: Store, image: Image, destination: ImageDestination, options: PushOptions
) -> Manifest:
    """The manifest as it was pushed; a note to progress says if it differs from the image's.

    Raises LayersUnavailable, which names the layers, and what the destination raises; the image is
    not visible there then.
    """
    check_level(options.compression, options.level)
    documents = read_image(store, image.manifest)
    kind = _MANIFESTS.get(options.format or "", documents.manifest.media_type)
    if options.format is not None and options.format not in _MANIFESTS:
        raise InvalidInputError(f"--format {options.format!r}: expected oci or v2s2")
    with store.lease("push", destination.name):
        async with open_places(store, options.access, destination.name) as places:
            layers = await _Layers(store, places, destination, kind, options).push(image, documents)
        await _send_small(destination, documents)
        manifest = _rewritten(documents, layers, kind)
        if manifest.digest != image.manifest:
            options.progress.note(f"manifest changed: {image.manifest} became {manifest.digest}")
        await destination.put_manifest(manifest.raw, manifest.media_type)
        await destination.commit()
    for layer in manifest.layers:
        store.locations.add(layer.digest, destination.name)
    return manifest


def _rewritten(documents: Documents, layers: list[Descriptor], kind: str) -> Manifest:
    """The image's own manifest where it still holds, else one with these layers."""
    old = documents.manifest
    if tuple(layers) == old.layers and kind == old.media_type:
        return old
    docker = kind == media_types.DOCKER_MANIFEST
    config_type = media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG
    config = replace(old.config, media_type=config_type)
    return Manifest.build(
        config, [retyped(layer, kind) for layer in layers], {} if docker else old.annotations, kind
    )


async def _send_small(destination: ImageDestination, documents: Documents) -> None:
    config = documents.manifest.config
    if not await destination.has_blob(config):
        await destination.put_blob(_one(documents.config.raw), config)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    await trio.lowlevel.checkpoint()
    yield data


class _Layers:
    """The layers of one push."""

    def __init__(
        self,
        store: Store,
        places: Places,
        destination: ImageDestination,
        kind: str,
        options: PushOptions,
    ) -> None:
        self.store = store
        self.places = places
        self.destination = destination
        self.kind = kind
        self.options = options
        self.unavailable: list[str] = []
        level = "" if options.level is None else f" {options.level}"
        self._how = f"{options.compression}{level}"

    async def push(self, image: Image, documents: Documents) -> list[Descriptor]:
        """The descriptors of the layers at the destination, lowest first."""
        layers = documents.manifest.layers
        sent: dict[Digest, Descriptor] = {}
        limit = trio.CapacityLimiter(_AT_ONCE)

        async def send(layer: Descriptor, key: LayerKey) -> None:
            async with limit:
                there = await self._layer(layer, key)
                if there is not None:
                    sent[layer.digest] = there

        pairs = dict(zip(layers, image.layers, strict=True))
        async with tasks() as nursery:
            for layer, key in pairs.items():
                nursery.start_soon(send, layer, key)
        if self.unavailable:
            raise LayersUnavailable("can't push: " + "; ".join(self.unavailable))
        return [sent[layer.digest] for layer in layers]

    async def _layer(self, layer: Descriptor, key: LayerKey) -> Descriptor | None:
        show = self.options.progress
        task = show.start(f"layer {layer.digest.hex[:12]}", layer.size)
        for known in (layer, self._packed(layer)):
            if known is not None and (how := await self._at_destination(known)):
                show.finish(task, how)
                return known
        there, why = await self._streamed(layer, task)
        if there is None:
            there = await self._rebuilt(layer, key, task, why)
        if there is not None:
            show.finish(task)
        return there

    async def _at_destination(self, layer: Descriptor) -> str | None:
        """How the destination came to have the layer without a transfer; None if it has not."""
        if await self.destination.has_blob(layer):
            return "already there"
        for place in self.store.locations.get(layer.digest):
            if await self.destination.mount_blob(layer, place):
                return "mounted from another repository"
        return None

    def _packed(self, layer: Descriptor) -> Descriptor | None:
        """What the layer became in an earlier push, if it had to be compressed."""
        if self.store.locations.get(layer.digest):
            return None
        known = self.store.packed.get(layer.digest, self._how)
        return self._compressed(layer, *known) if known is not None else None

    def _compressed(self, layer: Descriptor, digest: Digest, size: int) -> Descriptor:
        media_type = media_types.layer_media_type(self.options.compression, self.kind)
        return Descriptor(media_type, digest, size, layer.annotations)

    async def _streamed(self, layer: Descriptor, task: int) -> tuple[Descriptor | None, str]:
        """The layer from a place that has it; None, and why, where none does."""
        if not self.store.locations.get(layer.digest):
            return None, "no registry or layout is known to have it"
        reading = _Reading()
        try:
            async with self.places.of(layer.digest).open_blob(layer) as pieces:
                counted = self._counted(pieces, task)
                await self.destination.put_blob(reading.watched(counted), layer)
        except ImagefsError as error:
            if not reading.failed and reading.begun:
                raise
            return None, str(error)
        return layer, ""

    async def _rebuilt(
        self, layer: Descriptor, key: LayerKey, task: int, why: str
    ) -> Descriptor | None:
        with self.store.layers.open(key) as stored:
            if not stored.complete:
                self.unavailable.append(f"layer {layer.digest}: not whole in the store, and {why}")
                return None
            packing = compress(_tar(stored), self.options.compression, self.options.level)
            async with _in_thread(packing) as pieces:
                info = await self.destination.put_blob(self._counted(pieces, task), None)
        self.store.packed.add(layer.digest, self._how, info.digest, info.size)
        return self._compressed(layer, info.digest, info.size)

    async def _counted(self, pieces: AsyncIterator[bytes], task: int) -> AsyncIterator[bytes]:
        async for piece in pieces:
            self.options.progress.advance(task, len(piece))
            yield piece


class _Reading:
    """Tells a source that failed from a destination that did."""

    def __init__(self) -> None:
        self.begun = False
        self.failed = False

    async def watched(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.begun = True
        try:
            async for piece in pieces:
                yield piece
        except ImagefsError:
            self.failed = True
            raise


def _tar(layer: StoredLayer) -> Iterator[bytes]:
    """The layer's tar, byte for byte; VerifyError at its end if it is another."""
    hasher = hashlib.sha256()
    for piece in rebuild_tar(layer.index, layer.skeleton(), layer.read):
        hasher.update(piece)
        yield piece
    proved = layer.index.diff_id
    if proved is not None and hasher.hexdigest() != proved.hex:
        raise VerifyError(f"layer {layer.key.blob}: its content in the store is damaged: run fsck")


@asynccontextmanager
async def _in_thread(pieces: Iterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """What a generator gives, made in a worker thread a little ahead of its reader."""
    send, receive = trio.open_memory_channel[bytes](_AHEAD)

    def work() -> None:
        for piece in pieces:
            trio.from_thread.run(send.send, piece)

    async def run() -> None:
        async with send:
            await trio.to_thread.run_sync(work)

    async with tasks() as nursery:
        nursery.start_soon(run)
        async with receive:
            yield receive
