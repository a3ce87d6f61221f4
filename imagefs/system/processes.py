"""Which processes live and which hold a mount, from /proc. Never signals anybody.

Only links and tables of /proc are read: nothing here asks the file system that is looked for, which
may be dead.
"""

from __future__ import annotations

import os
import platform
import select
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from imagefs.system.mounts import MountInfo

RESEND_SINCE = (6, 9)
"""The Linux that can send unanswered FUSE requests again (FUSE_NOTIFY_RESEND)."""


class Holder(NamedTuple):
    """A process that keeps a mount busy, and by what: "cwd", "root", "exe", "file", "map"."""

    pid: int
    command: str
    by: str

    def __str__(self) -> str:
        return f"{self.command} ({self.pid}, {self.by})"


@cache
def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def kernel_version() -> tuple[int, int]:
    """Linux's version as (major, minor)."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))


def can_resend() -> bool:
    """Whether a FUSE server may die without a failed call."""
    return kernel_version() >= RESEND_SINCE


def start_time(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int, started: int | None = None) -> bool:
    """Whether `pid` runs (and is the process that started at `started`)."""
    now = start_time(pid)
    return now is not None and started in (None, now)


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until `pid` has ended, at most `seconds`. True if it has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def holders(mount: MountInfo) -> list[Holder]:
    """The processes that keep `mount` busy, in this mount namespace or another; one entry each."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (by := _holds(entry, mount)):
            found.append(Holder(int(entry.name), _command(entry), by))
    return sorted(found)


def _holds(process: Path, mount: MountInfo) -> str | None:
    try:
        for link in ("cwd", "root", "exe"):
            if _below(os.fsencode((process / link).readlink()), mount.mountpoint):
                return link
        if mount.mount_id in _mount_ids(process):
            return "file"
        return "map" if _maps(process, mount) else None
    except OSError:  # it ended, or is not ours to look at
        return None


def _mount_ids(process: Path) -> Iterator[int]:
    for info in (process / "fdinfo").iterdir():
        try:
            text = info.read_bytes()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(b"mnt_id:"):
                yield int(line[7:])


def _maps(process: Path, mount: MountInfo) -> bool:
    major, minor = (int(part) for part in mount.device.split(":"))
    device = b"%02x:%02x" % (major, minor)
    return any(
        line.split(maxsplit=4)[3] == device for line in (process / "maps").read_bytes().splitlines()
    )


def _below(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top.rstrip(b"/") + b"/")


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
