"""`-v` and `--tmpfs`: every form that podman-run(1) gives, parsed into values. Opens nothing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagefs.runtime.errors import OptionError

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

_PROPAGATION = (
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
)
#: Of each group an option list may hold one.
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("ro", "rw"),
    ("z", "Z"),
    ("exec", "noexec"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("bind", "rbind"),
    ("copy", "nocopy"),
    ("U",),
    _PROPAGATION,
)
_REFUSED = {
    "O": "overlay volumes",
    "idmap": "idmapped volumes",
    "upperdir": "overlay volumes",
    "workdir": "overlay volumes",
}
_TMPFS_FLAGS = (
    "ro rw exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime "
    "relatime norelatime strictatime nostrictatime mand nomand tmpcopyup notmpcopyup"
).split()
_TMPFS_VALUES = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol")


@dataclass(frozen=True)
class Volume:
    """A volume as asked for.

    `source` is a host path (bind), a name (named) or "" (anonymous). `options` are as written,
    checked. `chown` (U): everything in it shall belong to the container's user.
    """

    kind: Literal["bind", "named", "anonymous"]
    source: str
    destination: str
    options: tuple[str, ...] = ()

    @property
    def chown(self) -> bool:
        """Whether its files get the container's user as owner first."""
        return "U" in self.options

    @property
    def copies(self) -> bool:
        """Whether an empty volume starts with what the image has there."""
        return self.kind != "bind" and "nocopy" not in self.options

    @property
    def mount_options(self) -> list[str]:
        """The options for the spec's mount: podman's defaults where nothing is said."""
        kept = [o for o in self.options if o not in ("z", "Z", "U", "copy", "nocopy")]
        if self.kind != "bind":
            kept += [
                no for no, yes in (("nosuid", "suid"), ("nodev", "dev")) if _none(kept, no, yes)
            ]
        if _none(kept, "bind", "rbind"):
            kept.append("rbind")
        if _none(kept, *_PROPAGATION):
            kept.append("rprivate")
        return kept


@dataclass(frozen=True)
class Tmpfs:
    """A tmpfs as asked for; `options` as written, checked."""

    destination: str
    options: tuple[str, ...] = ()

    @property
    def mount_options(self) -> list[str]:
        """The options for the spec's mount: podman's, which are nosuid, nodev and a copy of what
        the image has there.
        """
        kept = [option for option in self.options if option != "notmpcopyup"]
        kept += [no for no, yes in (("nosuid", "suid"), ("nodev", "dev")) if _none(kept, no, yes)]
        if _none(list(self.options), "tmpcopyup", "notmpcopyup"):
            kept.append("tmpcopyup")
        return ["rprivate", *kept]


def parse_volume(text: str, directory: Path) -> Volume:
    """`[SOURCE:]CONTAINER-DIR[:OPTIONS]`; relative host paths begin with "." and are made absolute
    from `directory`. Raises OptionError.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise OptionError(f"-v {text}: not of the form [SOURCE:]CONTAINER-DIR[:OPTIONS]")
    if len(parts) == 1:
        return Volume("anonymous", "", destination(text, parts[0]))
    source, target = parts[0], destination(text, parts[1])
    options = _options(text, parts[2]) if len(parts) == 3 else ()
    if source.startswith(("/", ".")):
        return Volume("bind", posixpath.normpath(str(directory / source)), target, options)
    if not NAME.fullmatch(source):
        raise OptionError(
            f"-v {text}: {source!r} is neither a path that begins with / or . nor a volume's name "
            "([a-zA-Z0-9][a-zA-Z0-9_.-]*)"
        )
    return Volume("named", source, target, options)


def parse_tmpfs(text: str) -> Tmpfs:
    """`CONTAINER-DIR[:OPTIONS]`; raises OptionError."""
    path, _, options = text.partition(":")
    target = destination(text, path)
    chosen = tuple(option for option in options.split(",") if option)
    for option in chosen:
        name, equals, _ = option.partition("=")
        if option not in _TMPFS_FLAGS and not (equals and name in _TMPFS_VALUES):
            raise OptionError(f"--tmpfs {text}: {option!r} is not an option of tmpfs")
    return Tmpfs(target, chosen)


def check_destinations(destinations: Iterable[str]) -> None:
    """OptionError if two mounts have the same place in the container."""
    seen = set()
    for place in destinations:
        if place in seen:
            raise OptionError(f"{place}: duplicate mount destination")
        seen.add(place)


def destination(text: str, path: str) -> str:
    """A place in the container, normalised; raises OptionError unless absolute and not the root."""
    if not path.startswith("/"):
        raise OptionError(f"{text}: invalid container path {path!r}: it must be absolute")
    clean = "/" + posixpath.normpath(path).lstrip("/")
    if clean == "/":
        raise OptionError(f"{text}: the container's root cannot be a mount of its own")
    return clean


def _options(text: str, options: str) -> tuple[str, ...]:
    chosen = tuple(option for option in options.split(",") if option)
    for option in chosen:
        refused = _REFUSED.get(option.partition("=")[0])
        if refused:
            raise OptionError(f"-v {text}: option {option!r}: {refused} are not supported")
        if not any(option in group for group in _GROUPS):
            raise OptionError(f"-v {text}: invalid option {option!r}")
    for group in _GROUPS:
        if len([option for option in chosen if option in group]) > 1:
            raise OptionError(f"-v {text}: only one of {', '.join(group)} can be given")
    return chosen


def _none(options: list[str], *names: str) -> bool:
    return not any(name in options for name in names)
