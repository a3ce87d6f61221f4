"""An image's two documents, manifest and config, and whether they fit together. Fetches nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from imagefs.errors import InvalidInputError
from imagefs.oci import media_types
from imagefs.oci.config import ImageConfig
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest
from imagefs.oci.manifest import Manifest, parse
from imagefs.store import NoSuchImageError, Store


class ImageError(InvalidInputError):
    """An image whose documents do not fit together."""


@dataclass(frozen=True)
class Documents:
    """The manifest chosen for a platform, and its config: both verified, raw bytes kept."""

    manifest: Manifest
    config: ImageConfig

    def __post_init__(self) -> None:
        layers, diff_ids = len(self.manifest.layers), len(self.config.rootfs.diff_ids)
        if layers != diff_ids:
            raise ImageError(
                f"image {self.manifest.digest}: its manifest has {layers} layers, "
                f"its config {diff_ids} diffIDs"
            )


def read_image(store: Store, manifest: Digest) -> Documents:
    """The documents of an image in the store; NoSuchImageError where they are not there."""
    image = store.images.get(manifest)
    raw = store.blobs.get(manifest)
    config = store.blobs.get(image.config) if image else None
    if image is None or raw is None or config is None:
        raise NoSuchImageError(f"image {manifest}: not in the store any more: pull it again")
    parsed = parse(raw, image.media_type)
    if not isinstance(parsed, Manifest):
        raise ImageError(f"image {manifest}: the store holds an index in place of its manifest")
    return Documents(parsed, ImageConfig.parse(config))


def retyped(layer: Descriptor, manifest_type: str) -> Descriptor:
    """The same layer blob, named as manifests of this type name it."""
    compression = media_types.layer_compression(layer.media_type)
    if compression is None:
        return layer
    return replace(layer, media_type=media_types.layer_media_type(compression, manifest_type))
