"""Manifests and indexes: parse, build, raw bytes kept. Image-spec, manifest.md, image-index.md.

Docker's schema 2 is the same model under other media types; schema 1 is refused. Fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import msgspec

from imagefs.oci import media_types
from imagefs.oci.canonical import DocumentError, RawObject, decode, encode, sorted_map
from imagefs.oci.descriptor import Descriptor, DescriptorJSON
from imagefs.oci.digest import Digest

_NOTHING: Mapping[str, str] = MappingProxyType({})


_KEYS = frozenset({"layers", "manifests", "config", "mediaType", "schemaVersion", "fsLayers"})
_LOWER_KEYS = frozenset(key.lower() for key in _KEYS)


class Schema1Refused(DocumentError):
    """A Docker schema 1 manifest: it names no config and can't be verified as a whole."""


class _Fields(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    config: DescriptorJSON | None = None
    # Go writes an empty list as null, which is not the same as saying nothing.
    layers: tuple[DescriptorJSON, ...] | msgspec.UnsetType | None = msgspec.UNSET
    manifests: tuple[DescriptorJSON, ...] | msgspec.UnsetType | None = msgspec.UNSET
    annotations: dict[str, str] | None = None
    subject: DescriptorJSON | None = None
    artifact_type: str = ""


@dataclass(frozen=True)
class _Document:
    raw: bytes
    media_type: str

    @cached_property
    def digest(self) -> Digest:
        """The digest of the raw bytes."""
        return Digest.of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """What refers to this document."""
        return Descriptor(self.media_type, self.digest, len(self.raw))


@dataclass(frozen=True)
class Manifest(_Document):
    """An image: a config and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @classmethod
    def build(
        cls,
        config: Descriptor,
        layers: Iterable[Descriptor],
        annotations: Mapping[str, str] = _NOTHING,
        media_type: str = media_types.OCI_MANIFEST,
        subject: Descriptor | None = None,
        artifact_type: str = "",
    ) -> Manifest:
        """A new manifest; the same arguments give the same bytes."""
        layers = tuple(layers)
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
        if artifact_type:
            document["artifactType"] = artifact_type
        document["config"] = config.to_json()
        document["layers"] = [layer.to_json() for layer in layers]
        if subject is not None:
            document["subject"] = subject.to_json()
        if annotations:
            document["annotations"] = sorted_map(annotations)
        built = parse(encode(document), media_type)
        if not isinstance(built, cls):
            raise DocumentError(f"manifest: {media_type} is no manifest's media type")
        return built


@dataclass(frozen=True)
class Index(_Document):
    """A list of manifests, for several platforms as a rule."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @classmethod
    def build(
        cls,
        manifests: Iterable[Descriptor],
        annotations: Mapping[str, str] = _NOTHING,
        media_type: str = media_types.OCI_INDEX,
    ) -> Index:
        """A new index; the same arguments give the same bytes."""
        manifests = tuple(manifests)
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
        if annotations:
            document["annotations"] = sorted_map(annotations)
        built = parse(encode(document), media_type)
        if not isinstance(built, cls):
            raise DocumentError(f"index: {media_type} is no index's media type")
        return built


def parse(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """The manifest or index in `raw`; `media_type` is what its sender says it is, if anything.

    Raises Schema1Refused, or DocumentError for anything that is neither, is both (CVE-2021-41190),
    says that it is something else than its sender does, or is larger than 4 MiB.
    """
    if media_type in media_types.SCHEMA1:
        raise _schema1()
    members = decode(raw, RawObject, "manifest")
    _refuse_other_spellings(members)
    document = decode(raw, _Fields, "manifest")
    if document.schema_version == 1 or "fsLayers" in members:
        raise _schema1()
    if document.schema_version != 2:
        raise DocumentError(f"manifest: schemaVersion {document.schema_version}, expected 2")
    is_index = document.manifests is not msgspec.UNSET
    if is_index and (document.layers is not msgspec.UNSET or document.config is not None):
        raise DocumentError("manifest: it has both layers and manifests: refused as ambiguous")
    kind = _media_type(document.media_type, media_type, is_index)
    common = (
        MappingProxyType(document.annotations or {}),
        _optional(document.subject, "manifest: subject"),
        document.artifact_type,
    )
    if document.manifests is not msgspec.UNSET:
        listed = _descriptors(document.manifests or (), "index: manifest")
        return Index(raw, kind, listed, *common)
    if document.config is None or document.layers is msgspec.UNSET:
        raise DocumentError("manifest: neither an image (config and layers) nor an index")
    config = Descriptor.from_json(document.config, "manifest: config")
    layers = _descriptors(document.layers or (), "manifest: layer")
    return Manifest(raw, kind, config, layers, *common)


def _refuse_other_spellings(document: RawObject) -> None:
    # Go takes `Layers` for `layers`: one digest must not be two documents (CVE-2021-41190).
    for key in document:
        if key not in _KEYS and key.lower() in _LOWER_KEYS:
            raise DocumentError(f"manifest: field {key!r} is spelt wrongly: refused as ambiguous")


def _optional(parsed: DescriptorJSON | None, what: str) -> Descriptor | None:
    return None if parsed is None else Descriptor.from_json(parsed, what)


def _descriptors(parsed: Iterable[DescriptorJSON], what: str) -> tuple[Descriptor, ...]:
    return tuple(Descriptor.from_json(p, f"{what} {n}") for n, p in enumerate(parsed, 1))


def _media_type(inside: str, outside: str | None, is_index: bool) -> str:
    known = media_types.INDEXES if is_index else media_types.MANIFESTS
    outside = (outside or "").partition(";")[0].strip()
    if inside and inside not in known:
        raise DocumentError(f"manifest: unsupported media type {inside[:120]!r}")
    if outside not in (*media_types.INDEXES, *media_types.MANIFESTS):
        outside = ""  # application/json, text/plain, octet-stream: the sender does not know
    if inside and outside and inside != outside:
        raise DocumentError(f"manifest: sent as {outside}, but says it is {inside}")
    if outside and outside not in known:
        raise DocumentError(f"manifest: sent as {outside}, which its content is not")
    return inside or outside or known[0]


def _schema1() -> Schema1Refused:
    return Schema1Refused(
        "manifest: Docker schema 1 is not supported: push the image again with a current tool"
    )
