"""What the store must know of a manifest and its config to keep both. Judges nothing else."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from imagefs.oci.digest import Digest, DigestError
from imagefs.store.errors import ImageMismatchError

_FRACTION = re.compile(r"\.(\d{1,9})")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class _Descriptor(msgspec.Struct, frozen=True):
    digest: str


class _Manifest(msgspec.Struct, frozen=True):
    config: _Descriptor
    layers: list[_Descriptor]


class _RootFS(msgspec.Struct, frozen=True):
    diff_ids: list[str] = []


class _Config(msgspec.Struct, frozen=True):
    rootfs: _RootFS = _RootFS()
    created: str | None = None
    os: str = ""
    architecture: str = ""
    variant: str = ""


class Documents(msgspec.Struct, frozen=True):
    """The parts of an image's two documents that the store uses."""

    config: Digest
    layers: tuple[Digest, ...]
    diff_ids: tuple[Digest, ...]
    created_ns: int
    os: str
    architecture: str
    variant: str


def read_documents(manifest_raw: bytes, config_raw: bytes) -> Documents:
    """Both documents; ImageMismatchError where they are malformed or do not belong together."""
    try:
        manifest = msgspec.json.decode(manifest_raw, type=_Manifest)
        config = msgspec.json.decode(config_raw, type=_Config)
        config_digest = Digest.parse(manifest.config.digest)
        layers = tuple(Digest.parse(layer.digest) for layer in manifest.layers)
        diff_ids = tuple(map(Digest.parse, config.rootfs.diff_ids))
    except (msgspec.DecodeError, DigestError) as error:
        raise ImageMismatchError(f"not an image manifest and its config: {error}") from None
    found = Digest.of(config_raw, config_digest.algorithm)
    if found != config_digest:
        raise ImageMismatchError(f"the manifest names config {config_digest}, this one is {found}")
    if len(diff_ids) != len(layers):
        raise ImageMismatchError(
            f"config {config_digest}: {len(diff_ids)} diffIDs, but the manifest has "
            f"{len(layers)} layers"
        )
    return Documents(
        config=config_digest,
        layers=layers,
        diff_ids=diff_ids,
        created_ns=_nanoseconds(config.created),
        os=config.os,
        architecture=config.architecture,
        variant=config.variant,
    )


def _nanoseconds(created: str | None) -> int:
    """An RFC 3339 time since the epoch; 0 for none, and for what is not one."""
    if not created:
        return 0
    fraction = _FRACTION.search(created)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", created, count=1))
        elapsed = moment - _EPOCH
    except (ValueError, TypeError):
        return 0
    nanoseconds = int(fraction[1].ljust(9, "0")) if fraction else 0
    return (elapsed.days * 86400 + elapsed.seconds) * 10**9 + nanoseconds
