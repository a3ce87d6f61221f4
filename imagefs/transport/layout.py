"""The documents of an OCI image layout: names, index.json, oci-layout. Writes nothing.

Image-spec, image-layout.md.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagefs.errors import ImagefsError, InvalidInputError, NotFoundError
from imagefs.oci.digest import Digest, DigestError
from imagefs.oci.media_types import OCI_INDEX, OCI_MANIFEST

REF_NAME = "org.opencontainers.image.ref.name"


class LayoutError(InvalidInputError):
    """A directory that is no OCI layout, or one whose documents are damaged."""


class LayoutNotFound(NotFoundError):
    """The layout, the image in it, or one of its blobs does not exist."""


class LayoutIOError(ImagefsError):
    """The file system refused; carries its errno."""

    def __init__(self, what: str, cause: OSError) -> None:
        super().__init__(f"{what}: {os.strerror(cause.errno or errno.EIO)}")
        self.errno = cause.errno or errno.EIO


@dataclass(frozen=True, slots=True)
class LayoutName:
    """Where an image is: a directory, and a ref name, a position or a digest in its index.

    All three absent: the only image there is.
    """

    directory: str
    ref: str | None = None
    position: int | None = None
    digest: Digest | None = None

    def absolute(self) -> LayoutName:
        """The same from any working directory."""
        return replace(self, directory=str(Path(self.directory).absolute()))

    def __str__(self) -> str:
        if self.digest is not None:
            return f"oci:{self.directory}@{self.digest}"
        if self.position is not None:
            return f"oci:{self.directory}:@{self.position}"
        return f"oci:{self.directory}" + (f":{self.ref}" if self.ref else "")


def parse_index(raw: bytes, where: str) -> dict[str, Any]:
    """index.json as a dict whose "manifests" are dicts with valid digests; raises LayoutError."""
    try:
        index = json.loads(raw)
    except (ValueError, RecursionError):
        raise LayoutError(f"{where}: index.json is not JSON") from None
    manifests = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(manifests, list):
        raise LayoutError(f"{where}: index.json has no list of manifests")
    for entry in manifests:
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
            raise LayoutError(f"{where}: index.json has a manifest without a digest")
        if not isinstance(entry.get("annotations") or {}, dict):
            raise LayoutError(f"{where}: index.json has annotations that are no object")
        try:
            Digest.parse(entry["digest"])
        except DigestError as error:
            raise LayoutError(f"{where}: index.json: {error}") from None
    assert isinstance(index, dict)
    return index


def ref_name(entry: dict[str, Any]) -> str | None:
    """The ref name of an entry of index.json, if it has one."""
    name = (entry.get("annotations") or {}).get(REF_NAME)
    return name if isinstance(name, str) else None


def choose(index: dict[str, Any], name: LayoutName) -> dict[str, Any]:
    """The entry of index.json that `name` means; raises LayoutNotFound."""
    entries: list[dict[str, Any]] = index["manifests"]
    if name.digest is not None:
        found = [entry for entry in entries if entry["digest"] == str(name.digest)]
        # A manifest below an index is not listed, but is there by its digest all the same.
        return found[0] if found else {"digest": str(name.digest)}
    if name.position is not None:
        if name.position >= len(entries):
            raise LayoutNotFound(f"{name}: the layout has {len(entries)} images")
        return entries[name.position]
    if name.ref is not None:
        found = [entry for entry in entries if ref_name(entry) == name.ref]
    else:
        found = entries
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(filter(None, map(ref_name, entries)))) or "none"
    if not found:
        raise LayoutNotFound(f"{name}: no such image in this layout (it has: {names})")
    raise LayoutNotFound(
        f"{name}: several images fit; name one as oci:{name.directory}:NAME (it has: {names})"
    )


def media_type_of(raw: bytes, where: str) -> str:
    """The media type a manifest gives itself, else the one its fields mean; raises LayoutError."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise LayoutError(f"{where}: the manifest is not JSON") from None
    if not isinstance(document, dict):
        raise LayoutError(f"{where}: the manifest is no JSON object")
    declared = document.get("mediaType")
    if isinstance(declared, str) and declared:
        return declared
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def check_layout(directory: Path, where: str) -> None:
    """Raise unless `directory` has an oci-layout file of a known version."""
    try:
        raw = (directory / "oci-layout").read_bytes()[:4096]
    except (FileNotFoundError, NotADirectoryError):
        what = "is no OCI layout (no oci-layout file)" if directory.is_dir() else "does not exist"
        raise LayoutNotFound(f"{where}: {directory} {what}") from None
    except OSError as error:
        raise LayoutIOError(f"{where}: oci-layout", error) from None
    try:
        document = json.loads(raw)
    except ValueError:
        raise LayoutError(f"{where}: oci-layout is not JSON") from None
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise LayoutError(f"{where}: unknown layout version {version!r} (known: 1.0.0)")
