"""Descriptors: what a blob is, its digest and its size. Never fetches one.

Image-spec, descriptor.md. Parsing is strict: a size in bytes that fits 63 bits, a digest that can be
verified, a media type, and embedded data only if it is what digest and size say.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from imagefs.errors import ImagefsError, InvalidInputError
from imagefs.oci.canonical import sorted_map
from imagefs.oci.digest import Digest
from imagefs.oci.document import NO_STRINGS, Size, decode, frozen
from imagefs.oci.platform import Platform, PlatformFields

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_SHOWN = 100


class DescriptorError(InvalidInputError):
    """An object that is no descriptor; the message says where and why."""


class DescriptorFields(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor as decoded, before its digest, media type and data are looked at."""

    media_type: str
    digest: str
    size: Size
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    platform: PlatformFields | None = None
    artifact_type: str | None = None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob's media type, digest and size (bytes), and what else its referrer says of it."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default=NO_STRINGS, hash=False)
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    artifact_type: str | None = None
    data: bytes | None = None

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Self:
        """The descriptor of a blob that is at hand."""
        return cls(media_type, Digest.of(data), len(data))

    @classmethod
    def parse(cls, raw: bytes, what: str = "descriptor") -> Self:
        """A JSON object as a descriptor; raises DescriptorError, which names `what`."""
        return cls.from_fields(decode(raw, DescriptorFields, what, DescriptorError), what)

    @classmethod
    def from_json(cls, value: object, what: str = "descriptor") -> Self:
        """A decoded JSON object as a descriptor; raises DescriptorError, which names `what`."""
        try:
            fields = msgspec.convert(value, DescriptorFields)
        except msgspec.ValidationError as error:
            raise DescriptorError(f"{what}: not valid: {error}") from None
        return cls.from_fields(fields, what)

    @classmethod
    def from_fields(cls, fields: DescriptorFields, what: str) -> Self:
        """A decoded object as a descriptor; raises DescriptorError, which names `what`."""
        check_media_type(fields.media_type, what)
        if fields.artifact_type:
            check_media_type(fields.artifact_type, f"{what}: artifactType")
        try:
            digest = Digest.parse(fields.digest)
        except ImagefsError as error:
            raise DescriptorError(f"{what}: {error}") from None
        return cls(
            fields.media_type,
            digest,
            fields.size,
            frozen(fields.annotations),
            tuple(fields.urls or ()),
            Platform.from_fields(fields.platform) if fields.platform is not None else None,
            fields.artifact_type or None,
            _embedded(fields.data, digest, fields.size, what) if fields.data else None,
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, fields in the order of image-spec's Go type, empty ones left out."""
        fields: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.urls:
            fields["urls"] = list(self.urls)
        if self.annotations:
            fields["annotations"] = sorted_map(self.annotations)
        if self.data is not None:
            fields["data"] = binascii.b2a_base64(self.data, newline=False).decode()
        if self.platform is not None:
            fields["platform"] = self.platform.to_json()
        if self.artifact_type is not None:
            fields["artifactType"] = self.artifact_type
        return fields


def check_media_type(text: str, what: str) -> None:
    """Raise DescriptorError unless `text` is TYPE/SUBTYPE by RFC 6838, without parameters."""
    if not _MEDIA_TYPE.fullmatch(text):
        raise DescriptorError(f"{what}: invalid media type {text[:_SHOWN]!r}")


def _embedded(text: str, digest: Digest, size: int, what: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, or characters that aren't ASCII
        raise DescriptorError(f"{what}: embedded data is not base64") from None
    if len(data) != size or Digest.of(data, digest.algorithm) != digest:
        raise DescriptorError(f"{what}: embedded data is not what its digest and size say")
    return data
