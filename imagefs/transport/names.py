"""Names of images as users write them, with or without a transport. Opens nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from imagefs.errors import InvalidInputError, UnsupportedError
from imagefs.oci.digest import Digest
from imagefs.oci.reference import Reference
from imagefs.registry.access import Access, Credentials
from imagefs.transport.layout import LayoutName

__all__ = ["Access", "Credentials", "ImageName", "ImageNameError", "parse_image_name"]

Transport = Literal["docker", "oci"]
#: Transports of other tools, refused by name so that they are not taken for `REPOSITORY:TAG`.
_FOREIGN = (
    "atomic",
    "containers-storage",
    "dir",
    "docker-archive",
    "docker-daemon",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
)
_LAYOUT_DIGEST = re.compile(r"(?P<dir>.+)@(?P<digest>sha(?:256|384|512):[0-9a-f]+)")


class ImageNameError(InvalidInputError):
    """Text that names no image."""


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image's name; exactly one of `reference` and `layout` is set.

    `transport` None is a bare name: the store first, then a registry; its reference may be short.
    A docker:// reference is complete: registry, repository and tag or digest.
    """

    transport: Transport | None
    reference: Reference | None = None
    layout: LayoutName | None = None

    def __str__(self) -> str:
        if self.layout is not None:
            return str(self.layout)
        return f"docker://{self.reference}" if self.transport else str(self.reference)


def parse_image_name(text: str) -> ImageName:
    """What `text` names; raises ImageNameError, ReferenceError, DigestError or UnsupportedError."""
    if not text or "\0" in text or text != text.strip() or not _is_utf8(text):
        raise ImageNameError(f"invalid image name {text[:120]!r}")
    if text.startswith("docker://"):
        reference = Reference.parse(text.removeprefix("docker://"))
        return ImageName("docker", reference.normalized().with_default_tag())
    if text.startswith("docker:"):
        raise ImageNameError(f"invalid image name {text[:120]!r}: write docker://NAME")
    if text.startswith("oci:"):
        return ImageName("oci", layout=_parse_layout(text))
    head, colon, rest = text.partition(":")
    if colon and head in _FOREIGN and (rest.startswith("/") or "/" in rest or head != "dir"):
        raise UnsupportedError(f"{head}: this transport is not supported (known: docker://, oci:)")
    return ImageName(None, Reference.parse(text))


def _is_utf8(text: str) -> bool:
    """What isn't, a layout's directory for instance, could not be kept as where a blob is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_layout(text: str) -> LayoutName:
    rest = text.removeprefix("oci:")
    by_digest = _LAYOUT_DIGEST.fullmatch(rest)
    if by_digest is not None:
        return LayoutName(by_digest["dir"], digest=Digest.parse(by_digest["digest"]))
    directory, _, ref = rest.partition(":")
    if not directory:
        raise ImageNameError(f"invalid image name {text[:120]!r}: expected oci:DIR or oci:DIR:NAME")
    if ref.startswith("@"):
        if not ref[1:].isdecimal() or len(ref) > 9:
            raise ImageNameError(f"invalid image name {text[:120]!r}: expected oci:DIR:@NUMBER")
        return LayoutName(directory, position=int(ref[1:]))
    return LayoutName(directory, ref or None)
