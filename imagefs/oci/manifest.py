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
from imagefs.oci.canonical import DocumentError, decode, encode
from imagefs.oci.descriptor import Descriptor, DescriptorJSON
from imagefs.oci.digest import Digest

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Schema1Refused(DocumentError):
    """A Docker schema 1 manifest: it names no config and can't be verified as a whole."""


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    config: DescriptorJSON | None = None
    layers: tuple[DescriptorJSON, ...] | None = None
    manifests: tuple[DescriptorJSON, ...] | None = None
    annotations: dict[str, str] | None = None
    subject: DescriptorJSON | None = None
    artifact_type: str = ""
    fs_layers: msgspec.Raw | None = None


@dataclass(frozen=True)
class _Raw:
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
class Manifest(_Raw):
    """An image: a config and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default=_NOTHING)
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
            document["annotations"] = dict(sorted(annotations.items()))
        raw = encode(document)
        return cls(raw, media_type, config, layers, annotations, subject, artifact_type)


@dataclass(frozen=True)
class Index(_Raw):
    """A list of manifests, for several platforms as a rule."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default=_NOTHING)
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
            document["annotations"] = dict(sorted(annotations.items()))
        return cls(encode(document), media_type, manifests, annotations)


def parse(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """The manifest or index in `raw`; `media_type` is what its sender says it is, if anything.

    Raises Schema1Refused, or DocumentError for anything that is neither, is both (CVE-2021-41190),
    says that it is something else than its sender does, or is larger than 4 MiB.
    """
    if media_type in media_types.SCHEMA1:
        raise _schema1()
    document = decode(raw, _Document, "manifest")
    if document.schema_version == 1 or document.fs_layers is not None:
        raise _schema1()
    if document.schema_version != 2:
        raise DocumentError(f"manifest: schemaVersion {document.schema_version}, expected 2")
    if document.manifests is not None and (document.layers is not None or document.config):
        raise DocumentError("manifest: it has both layers and manifests: refused as ambiguous")
    is_index = document.manifests is not None
    kind = _media_type(document.media_type, media_type, is_index)
    common = (
        MappingProxyType(document.annotations or {}),
        _optional(document.subject, "manifest: subject"),
        document.artifact_type,
    )
    if document.manifests is not None:
        listed = _descriptors(document.manifests, "index: manifest")
        return Index(raw, kind, listed, *common)
    if document.config is None or document.layers is None:
        raise DocumentError("manifest: neither an image (config and layers) nor an index")
    config = Descriptor.from_json(document.config, "manifest: config")
    return Manifest(raw, kind, config, _descriptors(document.layers, "manifest: layer"), *common)


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
