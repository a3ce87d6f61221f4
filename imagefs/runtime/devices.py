"""The host's devices, which privileged containers get. Opens none of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What the container has of its own, or what is no device to share.
_SKIPPED = frozenset(
    (
        *("pts", "shm", "fd", "mqueue", "hugepages", "console", "ptmx", "tty"),
        *("null", "zero", "full", "random", "urandom", ".lxc", ".lxd-mounts", ".udev"),
    )
)


def host_devices(root: Path = Path("/dev")) -> list[dict[str, Any]]:
    """The spec's `linux.devices` for all devices below `root`, by path."""
    return sorted(_below(root, root), key=lambda device: str(device["path"]))


def _below(directory: Path, root: Path) -> Iterator[dict[str, Any]]:
    for entry in directory.iterdir():
        if directory == root and entry.name in _SKIPPED:
            continue
        try:
            found = entry.lstat()
        except FileNotFoundError:
            continue  # unplugged meanwhile
        if stat.S_ISDIR(found.st_mode):
            yield from _below(entry, root)
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            yield {
                "path": str(entry),
                "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
                "major": os.major(found.st_rdev),
                "minor": os.minor(found.st_rdev),
                "fileMode": stat.S_IMODE(found.st_mode),
                "uid": found.st_uid,
                "gid": found.st_gid,
            }
