"""Descriptors (image-spec, descriptor.md): what a blob is, its digest, its size. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from imagefs.oci.canonical import DocumentError
from imagefs.oci.digest import Digest, DigestError
from imagefs.oci.platform import Platform

_NOTHING: Mapping[str, str] = MappingProxyType({})


class PlatformJSON(msgspec.Struct, frozen=True):
    """A platform as an index writes it."""

    architecture: str
    os: str
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] = msgspec.field(name="os.features", default=())
    variant: str = ""


class DescriptorJSON(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor as documents write it, types checked and nothing else."""

    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] | None = None
    urls: tuple[str, ...] | None = None
    platform: PlatformJSON | None = None
    artifact_type: str = ""
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob by media type, digest and size in bytes. Equal if these three are."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default=_NOTHING, compare=False)
    urls: tuple[str, ...] = field(default=(), compare=False)
    platform: Platform | None = field(default=None, compare=False)
    artifact_type: str = field(default="", compare=False)
    data: str | None = field(default=None, compare=False)

    @classmethod
    def from_json(cls, parsed: DescriptorJSON, what: str) -> Descriptor:
        """The descriptor that `what` holds; raises DocumentError."""
        try:
            digest = Digest.parse(parsed.digest)
        except DigestError as error:
            raise DocumentError(f"{what}: {error}") from None
        if not 0 <= parsed.size < 1 << 63:
            raise DocumentError(f"{what}: invalid size {parsed.size} of {digest}")
        return cls(
            parsed.media_type,
            digest,
            parsed.size,
            MappingProxyType(parsed.annotations or {}),
            parsed.urls or (),
            _platform(parsed.platform) if parsed.platform is not None else None,
            parsed.artifact_type,
            parsed.data,
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, keys in the order of the specification."""
        written: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.urls:
            written["urls"] = list(self.urls)
        if self.annotations:
            written["annotations"] = dict(sorted(self.annotations.items()))
        if self.data is not None:
            written["data"] = self.data
        if self.platform is not None:
            written["platform"] = _platform_json(self.platform)
        if self.artifact_type:
            written["artifactType"] = self.artifact_type
        return written


def _platform(parsed: PlatformJSON) -> Platform:
    return Platform(
        parsed.os, parsed.architecture, parsed.variant, parsed.os_version, parsed.os_features
    )


def _platform_json(platform: Platform) -> dict[str, Any]:
    written: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        written["os.version"] = platform.os_version
    if platform.os_features:
        written["os.features"] = list(platform.os_features)
    if platform.variant:
        written["variant"] = platform.variant
    return written
