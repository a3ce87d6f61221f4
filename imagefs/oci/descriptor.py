"""Descriptors (image-spec, descriptor.md): what a blob is, its digest, its size. Reads nothing."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from imagefs.oci.canonical import DocumentError, decode, sorted_map
from imagefs.oci.digest import Digest, DigestError
from imagefs.oci.platform import Platform

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")  # RFC 6838, no parameters
_SHOWN = 100


class PlatformJSON(msgspec.Struct, frozen=True):
    """A platform as an index writes it."""

    architecture: str
    os: str
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] | None = msgspec.field(name="os.features", default=None)
    variant: str = ""


class DescriptorJSON(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor as documents write it, types checked and nothing else."""

    digest: str
    size: int
    media_type: str
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
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    urls: tuple[str, ...] = field(default=(), compare=False)
    platform: Platform | None = field(default=None, compare=False)
    artifact_type: str = field(default="", compare=False)
    data: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Descriptor:
        """The descriptor of a blob that is at hand."""
        return cls(media_type, Digest.of(data), len(data))

    @classmethod
    def parse(cls, raw: bytes, what: str = "descriptor") -> Descriptor:
        """The descriptor in `raw`, a JSON object; raises DocumentError, which names `what`."""
        return cls.from_json(decode(raw, DescriptorJSON, what), what)

    @classmethod
    def from_json(cls, parsed: DescriptorJSON, what: str) -> Descriptor:
        """The descriptor that `what` holds; raises DocumentError."""
        try:
            digest = Digest.parse(parsed.digest)
        except DigestError as error:
            raise DocumentError(f"{what}: {error}") from None
        if not 0 <= parsed.size < 1 << 63:
            raise DocumentError(f"{what}: invalid size {parsed.size} of {digest}")
        if not _MEDIA_TYPE.fullmatch(parsed.media_type):
            raise DocumentError(f"{what}: invalid media type {parsed.media_type[:_SHOWN]!r}")
        if parsed.data is not None:
            _check_embedded(parsed.data, digest, parsed.size, what)
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
            written["annotations"] = sorted_map(self.annotations)
        if self.data is not None:
            written["data"] = self.data
        if self.platform is not None:
            written["platform"] = _platform_json(self.platform)
        if self.artifact_type:
            written["artifactType"] = self.artifact_type
        return written


def _platform(parsed: PlatformJSON) -> Platform:
    return Platform(
        parsed.os,
        parsed.architecture,
        parsed.variant,
        parsed.os_version,
        parsed.os_features or (),
    )


def _check_embedded(text: str, digest: Digest, size: int, what: str) -> None:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, or characters that aren't ASCII
        raise DocumentError(f"{what}: embedded data is not base64") from None
    if len(data) != size or Digest.of(data, digest.algorithm) != digest:
        raise DocumentError(f"{what}: embedded data is not what its digest and size say")


def _platform_json(platform: Platform) -> dict[str, Any]:
    written: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        written["os.version"] = platform.os_version
    if platform.os_features:
        written["os.features"] = list(platform.os_features)
    if platform.variant:
        written["variant"] = platform.variant
    return written
