"""Platforms (`linux/arm64/v8`): parse, normalise, choose from an index. Never probes a CPU's features.

Names are Go's GOOS and GOARCH; other names of the same thing, and the variants that a platform can
also run, are those of containerd/platforms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import msgspec

from imagefs.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from imagefs.oci.descriptor import Descriptor
    from imagefs.oci.manifest import Index

_OS_NAMES = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9"
    " solaris wasip1 windows zos".split()
)
_ARCHITECTURES = frozenset(
    "386 amd64 arm arm64 armbe arm64be loong64 mips mipsle mips64 mips64le ppc ppc64 ppc64le riscv"
    " riscv64 s390 s390x sparc sparc64 wasm".split()
)
#: Other names (uname's, Debian's) and what they mean: architecture, and a variant if they imply one.
_ALIASES: dict[str, tuple[str, str | None]] = {
    "aarch64": ("arm64", None),
    "armel": ("arm", "v6"),
    "armhf": ("arm", "v7"),
    "armv5tel": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", None),
    "x86-64": ("amd64", None),
    "x86_64": ("amd64", None),
}
#: Variants that say nothing, and what stands in the normal form for them.
_VARIANTS = {("amd64", "v1"): "", ("arm64", "v8"): "", ("arm", ""): "v7"}
_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OS_PART = re.compile(r"(?P<os>[A-Za-z0-9_.-]{1,64})(?:\((?P<version>[A-Za-z0-9_.-]{1,64})\))?")
_LEVEL = re.compile(r"v(?P<major>[0-9]{1,2})(?:\.(?P<minor>[0-9]{1,2}))?")
# ARMv9.n contains what ARMv8.(n+5) does.
_V9_AHEAD = 5
_OLDEST_ARM = 5
_SHOWN = 100


class PlatformError(InvalidInputError):
    """Text that names no platform."""


class NoPlatformError(NotFoundError):
    """An index has nothing for the platform wanted; the message lists what it has."""


class PlatformFields(msgspec.Struct, frozen=True):
    """A platform object as descriptors and configs have it (image-spec, image-index.md)."""

    architecture: str = ""
    os: str = ""
    os_version: str | None = msgspec.field(name="os.version", default=None)
    os_features: list[str] | None = msgspec.field(name="os.features", default=None)
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on; fields are as written, `normalized` makes them comparable."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """`OS/ARCH[/VARIANT]`, `OS` or `ARCH` (the rest is the host's), normalised.

        `OS(VERSION)` gives an os_version. Raises PlatformError.
        """
        first, *rest = text.split("/")
        head = _OS_PART.fullmatch(first)
        if head is None or len(rest) > 2 or not all(_PART.fullmatch(part) for part in rest):
            raise PlatformError(f"invalid platform {text[:_SHOWN]!r}: expected OS/ARCH[/VARIANT]")
        version = head["version"] or ""
        if rest:
            return cls(head["os"], *rest, os_version=version).normalized()
        here = host()
        if _normal_os(first := head["os"]) in _OS_NAMES:
            variant = here.variant
            return cls(first, here.architecture, variant, os_version=version).normalized()
        alone = cls(here.os, first).normalized()
        if alone.architecture not in _ARCHITECTURES or version:
            raise PlatformError(
                f"invalid platform {text[:_SHOWN]!r}: neither an operating system nor an "
                "architecture; write OS/ARCH[/VARIANT]"
            )
        return alone

    @classmethod
    def from_fields(cls, fields: PlatformFields) -> Self:
        """The value of a decoded object."""
        return cls(
            fields.os,
            fields.architecture,
            fields.variant or "",
            fields.os_version or "",
            tuple(fields.os_features or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """As an object of a descriptor; what is empty is left out, except os and architecture."""
        fields: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            fields["os.version"] = self.os_version
        if self.os_features:
            fields["os.features"] = list(self.os_features)
        if self.variant:
            fields["variant"] = self.variant
        return fields

    def normalized(self) -> Self:
        """With Go's names and without variants that say nothing: x86_64 is amd64, arm is arm/v7."""
        architecture, variant = self.architecture.lower(), self.variant.lower()
        architecture, implied = _ALIASES.get(architecture, (architecture, None))
        if implied is not None:
            variant = implied
        if variant.isdecimal():
            variant = f"v{variant}"
        variant = _VARIANTS.get((architecture, variant), variant)
        return replace(self, os=_normal_os(self.os), architecture=architecture, variant=variant)

    def __str__(self) -> str:
        version = f"({self.os_version})" if self.os_version else ""
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.os}{version}/{self.architecture}{variant}"


def host() -> Platform:
    """The platform of the running kernel."""
    name = os.uname()
    return Platform(name.sysname, name.machine).normalized()


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The manifest (or index) of `index` that fits `wanted` best: its own variant, else the next
    lower one that it can run, else one without any platform.

    Of equals the first counts. Raises NoPlatformError.
    """
    target = wanted.normalized()
    entries = [entry for entry in index.manifests if entry.artifact_type is None]
    for variant in runnable_variants(target):
        for entry in entries:
            if entry.platform is not None and _matches(entry.platform, target, variant):
                return entry
    for entry in entries:
        if entry.platform is None:
            return entry
    there = sorted({str(entry.platform) for entry in entries} - {"unknown/unknown"})
    raise NoPlatformError(
        f"no image for {target} in index {index.digest}: it has {', '.join(there) or 'none'}"
    )


def runnable_variants(platform: Platform) -> Iterator[str]:
    """Variants of the same architecture that a normalised platform runs, its own and best first."""
    yield platform.variant
    level = _LEVEL.fullmatch(platform.variant)
    if level is None:
        return
    major, minor = int(level["major"]), int(level["minor"] or 0)
    if platform.architecture == "arm":
        yield from (f"v{older}" for older in range(major - 1, _OLDEST_ARM - 1, -1))
    elif platform.architecture == "amd64":
        yield from (f"v{older}" for older in range(major - 1, 1, -1))
        yield ""
    elif platform.architecture == "arm64":
        if major == 9:
            yield from (f"v9.{older}" for older in range(minor - 1, 0, -1))
            if minor:
                yield "v9"
            minor += _V9_AHEAD + 1
        yield from (f"v8.{older}" for older in range(minor - 1, 0, -1))
        yield ""


def _matches(platform: Platform, target: Platform, variant: str) -> bool:
    offered = platform.normalized()
    return (
        (offered.os, offered.architecture, offered.variant)
        == (target.os, target.architecture, variant)
        and (not target.os_version or offered.os_version == target.os_version)
        and set(target.os_features) <= set(offered.os_features)
    )


def _normal_os(name: str) -> str:
    lower = name.lower()
    return "darwin" if lower == "macos" else lower
