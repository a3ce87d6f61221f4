"""Platforms (`linux/arm64/v8`), and the choice of a manifest for one. Asks the host its name only.

Names are normalised as containerd/platforms does, so that `x86_64` and `amd64` are the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from imagefs.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from imagefs.oci.descriptor import Descriptor
    from imagefs.oci.manifest import Index

_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
}
#: The variant that is meant where none is named.
_DEFAULT_VARIANT = {"arm": "v7"}


_SYSTEMS = frozenset({"darwin", "freebsd", "linux", "windows"})
#: Levels have one or two digits; what is longer is a name.
_LEVEL = re.compile(r"v[0-9]{1,2}")


class PlatformError(InvalidInputError):
    """Text that names no platform."""


class NoSuchPlatform(NotFoundError):
    """An index without a manifest for the platform; the message names those it has."""


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system, an architecture in Go's spelling and its variant ("" for none)."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """`OS/ARCH[/VARIANT]`, `ARCH` (of linux) or `OS` (on the host's architecture), normalised.

        Raises PlatformError.
        """
        parts = text.split("/")
        if not all(_PART.fullmatch(part) for part in parts) or len(parts) > 3:
            raise PlatformError(f"invalid platform {text[:80]!r}: expected OS/ARCH[/VARIANT]")
        if len(parts) == 1 and _normal(text, "")[0] in _SYSTEMS:
            parts += [part for part in (host().architecture, host().variant) if part]
        elif len(parts) == 1:
            parts.insert(0, "linux")
        return cls(*_normal(*parts))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def normal(self) -> Platform:
        """The same platform in normal spelling."""
        os_, architecture, variant = _normal(self.os, self.architecture, self.variant)
        return Platform(os_, architecture, variant, self.os_version, self.os_features)


def _normal(os_: str, architecture: str, variant: str = "") -> tuple[str, str, str]:
    os_, architecture, variant = os_.lower(), architecture.lower(), variant.lower()
    os_ = {"macos": "darwin"}.get(os_, os_)
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdecimal() and variant.isascii():
        variant = "v" + variant
    if architecture == "arm64" and variant == "v8":
        variant = ""
    if architecture == "amd64" and variant == "v1":
        variant = ""
    return os_, architecture, variant


def host() -> Platform:
    """The platform of this machine."""
    machine = os.uname().machine
    return Platform(*_normal("linux", machine))


def fallbacks(wanted: Platform) -> Iterable[Platform]:
    """What runs on `wanted`, best first: itself, then the variants below it."""
    wanted = wanted.normal()
    variants = [wanted.variant]
    if wanted.architecture == "arm":
        top = wanted.variant or _DEFAULT_VARIANT["arm"]
        if _LEVEL.fullmatch(top):
            variants = [f"v{n}" for n in range(int(top[1:]), 4, -1)] + [""]
    elif _LEVEL.fullmatch(wanted.variant):
        variants = [f"v{n}" for n in range(int(wanted.variant[1:]), 1, -1)] + [""]
    for variant in variants:
        yield Platform(*_normal(wanted.os, wanted.architecture, variant))


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The first entry of `index` that suits `wanted` best; raises NoSuchPlatform."""
    entries = [(m, m.platform) for m in index.manifests if m.platform is not None]
    for candidate in fallbacks(wanted):
        for entry, platform in entries:
            have = platform.normal()
            if (have.os, have.architecture, have.variant) == (
                candidate.os,
                candidate.architecture,
                candidate.variant,
            ):
                return entry
    if len(index.manifests) == 1 and not entries:
        return index.manifests[0]
    names = {ascii(str(platform))[1:-1] for _, platform in entries} - {"unknown/unknown"}
    there = ", ".join(sorted(names)) or "no platform"
    raise NoSuchPlatform(f"no image for platform {wanted} in index {index.digest}: it has {there}")
