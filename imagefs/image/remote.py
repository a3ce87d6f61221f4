"""What an image at a registry or in a layout is, as `skopeo inspect` shows it. Stores nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from imagefs.errors import UnsupportedError
from imagefs.image.documents import Documents
from imagefs.image.pull import read_documents
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest
from imagefs.oci.platform import Platform
from imagefs.transport import Access, ImageName, ImageSource, open_source
from imagefs.transport.protocols import ListsTags


@asynccontextmanager
async def opened(name: ImageName, access: Access) -> AsyncIterator[ImageSource]:
    """The source of `name`, closed at the end."""
    source = open_source(name, access)
    try:
        yield source
    finally:
        await source.aclose()


async def repository_tags(name: ImageName, access: Access) -> list[str]:
    """The full name of each image in the repository or layout that `name` names, sorted.

    Raises UnsupportedError for a source that can't list.
    """
    async with opened(name, access) as source:
        if not isinstance(source, ListsTags):
            raise UnsupportedError(f"{name}: its images can't be listed: name one")
        tags = await source.tags()
        if name.layout is not None:
            return [f"oci:{name.layout.directory}:{tag}" for tag in tags]
        return [f"docker://{_repository(source.name)}:{tag}" for tag in tags]


async def top_manifest(name: ImageName, access: Access) -> bytes:
    """The raw manifest or index of `name`, as it is there."""
    async with opened(name, access) as source:
        return (await source.manifest(None))[0]


async def read_remote(name: ImageName, access: Access, platform: Platform | None) -> Documents:
    """Manifest and config of `name` for a platform (default: the host's)."""
    async with opened(name, access) as source:
        return await read_documents(source, platform)


async def inspect_remote(
    name: ImageName, access: Access, platform: Platform | None
) -> dict[str, Any]:
    """skopeo's JSON object of an image; `Digest` is that of the index where there is one."""
    async with opened(name, access) as source:
        raw, _ = await source.manifest(None)
        documents = await read_documents(source, platform)
        registry = name.layout is None and isinstance(source, ListsTags)
        tags = await source.tags() if registry and isinstance(source, ListsTags) else []
        where = {"Name": _repository(source.name)} if name.layout is None else {}
    config = documents.config
    variant = config.platform.variant
    return {
        **where,
        "Digest": str(Digest.of(raw)),
        "RepoTags": tags,
        "Created": config.created,
        "DockerVersion": config.document.get("docker_version", ""),
        "Labels": config.config.labels,
        "Architecture": config.platform.architecture,
        **({"Variant": variant} if variant else {}),
        "Os": config.platform.os,
        "Layers": [str(layer.digest) for layer in documents.manifest.layers],
        "LayersData": [_layer(layer) for layer in documents.manifest.layers],
        "Env": list(config.config.env or ()),
    }


def _layer(layer: Descriptor) -> dict[str, Any]:
    return {
        "MIMEType": layer.media_type,
        "Digest": str(layer.digest),
        "Size": layer.size,
        "Annotations": dict(layer.annotations) or None,
    }


def _repository(source_name: str) -> str:
    """A registry source's name without transport, tag and digest."""
    name = source_name.removeprefix("docker://").partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
