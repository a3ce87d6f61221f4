"""What an image in the store is, as `podman inspect` shows it. Fetches nothing, changes nothing."""

from __future__ import annotations

from typing import Any

from imagefs.image.documents import read_image
from imagefs.store import Image, Store
from imagefs.store.names import repository_of


def inspect_image(store: Store, image: Image) -> dict[str, Any]:
    """podman's JSON object of an image; sizes are of the uncompressed layers, in bytes.

    `GraphDriver.Data` says where the layers' entries lie, top first. Raises NoSuchImageError for an
    image that has been removed meanwhile.
    """
    documents = read_image(store, image.manifest)
    config = documents.config
    document = config.document
    runtime = document.get("config") or {}
    last = config.history[-1] if config.history else None
    layers = [str(store.layers.path(key)) for key in reversed(image.layers)]
    return {
        "Id": image.id,
        "Digest": str(image.manifest),
        "RepoTags": list(image.names),
        "RepoDigests": repo_digests(image),
        "Parent": "",
        "Comment": document.get("comment") or (last.comment if last else ""),
        "Created": config.created,
        "Config": runtime,
        "Version": document.get("docker_version", ""),
        "Author": config.author,
        "Architecture": config.platform.architecture,
        **({"Variant": config.platform.variant} if config.platform.variant else {}),
        "Os": config.platform.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "imagefs", "Data": {"Layers": layers}},
        "RootFS": {"Type": "layers", "Layers": [str(one) for one in config.rootfs.diff_ids]},
        "Labels": runtime.get("Labels"),
        "Annotations": dict(documents.manifest.annotations),
        "ManifestType": image.media_type,
        "User": config.config.user,
        "History": document.get("history") or [],
        "NamesHistory": list(image.names),
    }


def repo_digests(image: Image) -> list[str]:
    """REPOSITORY@DIGEST for each repository that an image has a name in, sorted."""
    return sorted({f"{repository_of(name)}@{image.manifest}" for name in image.names})
