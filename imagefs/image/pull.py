"""From a source to an image in the store: documents, and an index of each layer. Mounts nothing."""

from __future__ import annotations

from collections.abc import Callable

import trio

from imagefs.content.scan import scan_layer
from imagefs.content.tasks import tasks
from imagefs.errors import UnsupportedError
from imagefs.image.documents import Documents, ImageError
from imagefs.image.progress import Progress, Silent
from imagefs.oci.config import ImageConfig
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.manifest import Index, Manifest, parse
from imagefs.oci.media_types import is_layer
from imagefs.oci.platform import NoSuchPlatform, Platform, choose, fallbacks, host
from imagefs.store import Image, LayerKey, Store
from imagefs.transport import ImageSource

_LAYERS_AT_ONCE = 2


async def read_documents(source: ImageSource, platform: Platform | None = None) -> Documents:
    """The documents of the image that `source` names, for `platform` (default: the host's).

    Raises ImagefsError for a missing image, no such platform, or documents that are not valid. An
    image that is there for one platform only is taken for the host's as it is, as podman does.
    """
    manifest = parse(*await source.manifest(None))
    only = isinstance(manifest, Manifest)
    for _ in range(2):
        if isinstance(manifest, Manifest):
            break
        wanted = choose(manifest, platform or host())
        manifest = parse(*await source.manifest(wanted.digest))
    if isinstance(manifest, Index):
        raise ImageError(f"{source.name}: an index of indexes of indexes")
    _check_layers(manifest, source.name)
    config = ImageConfig.parse(await source.blob(manifest.config))
    if only and platform is not None and config.platform.normal() not in fallbacks(platform):
        raise NoSuchPlatform(
            f"{source.name}: no image for platform {platform}: it has {config.platform} only"
        )
    return Documents(manifest, config)


def _check_layers(manifest: Manifest, name: str) -> None:
    """Refuse what is no image of layers, or has some that nothing here can read."""
    for layer in manifest.layers:
        if not is_layer(layer.media_type):
            what = f" of artifact {manifest.artifact_type}" if manifest.artifact_type else ""
            raise UnsupportedError(
                f"{name}: layer {layer.digest}{what}: media type {layer.media_type} is not "
                "supported (layers are tar, tar+gzip or tar+zstd)"
            )


async def index_layers(
    store: Store, source: ImageSource, documents: Documents, progress: Progress | None = None
) -> list[LayerKey]:
    """The key of each layer, lowest first; layers that nobody has seen here are streamed once."""
    layers = documents.manifest.layers
    keys: dict[Descriptor, LayerKey] = {}
    limit = trio.CapacityLimiter(_LAYERS_AT_ONCE)
    show = progress or Silent()

    async def index(layer: Descriptor) -> None:
        async with limit:
            known = store.layers.find(layer.digest)
            if known is None:
                task = show.start(f"layer {layer.digest.hex[:12]}", layer.size)
                known = await scan_layer(store, source, layer, lambda n: show.advance(task, n))
                show.finish(task)
            keys[layer] = known

    async with tasks() as nursery:
        for layer in dict.fromkeys(layers):
            nursery.start_soon(index, layer)
    return [keys[layer] for layer in layers]


async def pull_image(
    store: Store,
    source: ImageSource,
    name: Callable[[], str | None],
    platform: Platform | None = None,
    progress: Progress | None = None,
) -> Image:
    """The image that `source` names, in the store and called `name()` there.

    A short name's registry is known, and `name` called, only when the manifest is here.

    What is needed to mount it is complete afterwards: its documents and an index of each layer. A
    layer's content is there if it was streamed now, or as far as it had been read before.
    """
    with store.lease("pull", source.name):
        documents = await read_documents(source, platform)
        have = documents.config.platform
        if platform is None and have.normal() not in fallbacks(host()):
            (progress or Silent()).note(f"Warning: the image is for {have}, this host is {host()}")
        keys = await index_layers(store, source, documents, progress)
        for layer in documents.manifest.layers:
            store.locations.add(layer.digest, source.name)
        manifest = documents.manifest
        return store.images.add(
            manifest.raw, manifest.media_type, documents.config.raw, keys, name=name()
        )
