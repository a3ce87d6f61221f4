"""Media types of OCI and Docker schema 2 documents and layers. Constants and questions, no parsing."""

from __future__ import annotations

from typing import Literal

Compression = Literal["none", "gzip", "zstd"]

_OCI = "application/vnd.oci.image."
_DOCKER = "application/vnd.docker."

OCI_MANIFEST = _OCI + "manifest.v1+json"
OCI_INDEX = _OCI + "index.v1+json"
OCI_CONFIG = _OCI + "config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = _OCI + "layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_NONDISTRIBUTABLE = _OCI + "layer.nondistributable.v1.tar"
OCI_NONDISTRIBUTABLE_GZIP = OCI_NONDISTRIBUTABLE + "+gzip"
OCI_NONDISTRIBUTABLE_ZSTD = OCI_NONDISTRIBUTABLE + "+zstd"

DOCKER_MANIFEST = _DOCKER + "distribution.manifest.v2+json"
DOCKER_INDEX = _DOCKER + "distribution.manifest.list.v2+json"
DOCKER_CONFIG = _DOCKER + "container.image.v1+json"
DOCKER_LAYER = _DOCKER + "image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
#: Not registered by Docker, written by buildkit.
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN = _DOCKER + "image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_GZIP = DOCKER_FOREIGN + ".gzip"

DOCKER_SCHEMA1 = _DOCKER + "distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = _DOCKER + "distribution.manifest.v1+prettyjws"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
#: Layers that may live at other places than the registry (`urls`) and are not pushed by default.
NONDISTRIBUTABLE = frozenset(
    {
        OCI_NONDISTRIBUTABLE,
        OCI_NONDISTRIBUTABLE_GZIP,
        OCI_NONDISTRIBUTABLE_ZSTD,
        DOCKER_FOREIGN,
        DOCKER_FOREIGN_GZIP,
    }
)

_LAYERS: dict[str, Compression] = {
    OCI_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    OCI_NONDISTRIBUTABLE: "none",
    OCI_NONDISTRIBUTABLE_GZIP: "gzip",
    OCI_NONDISTRIBUTABLE_ZSTD: "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    DOCKER_FOREIGN: "none",
    DOCKER_FOREIGN_GZIP: "gzip",
}


def is_layer(media_type: str) -> bool:
    """Whether a blob of this type is a tar layer of a root filesystem."""
    return media_type in _LAYERS


def is_manifest(media_type: str) -> bool:
    """Whether this is the manifest of one image (OCI, Docker schema 2)."""
    return media_type in MANIFESTS


def is_index(media_type: str) -> bool:
    """Whether this is an index or a manifest list."""
    return media_type in INDEXES


def layer_compression(media_type: str) -> Compression | None:
    """How a layer of this type claims to be compressed; None if it is no layer."""
    return _LAYERS.get(media_type)
