"""mount(2), umount2(2), syncfs(2), and what /proc says about mounts. Never touches a mounted file.

Reading /proc/self/mountinfo asks no file system anything, so it is safe next to a dead FUSE mount,
which stat(2) is not.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)
_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountInfo(NamedTuple):
    """One line of mountinfo, see proc(5). `device` is "MAJOR:MINOR"."""

    mount_id: int
    parent_id: int
    device: str
    root: bytes
    mountpoint: bytes
    fstype: str
    source: bytes


def parse_mountinfo(text: bytes) -> Iterator[MountInfo]:
    """The mounts in `text`, in the kernel's order (what is mounted over something comes later)."""
    for line in text.splitlines():
        left, _, right = line.partition(b" - ")
        mount_id, parent_id, device, root, mountpoint = left.split(b" ")[:5]
        fstype, source = right.split(b" ")[:2]
        yield MountInfo(
            int(mount_id),
            int(parent_id),
            device.decode(),
            _plain(root),
            _plain(mountpoint),
            fstype.decode(),
            _plain(source),
        )


def _plain(field: bytes) -> bytes:
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)


def mounts(pid: int | str = "self") -> list[MountInfo]:
    """The mounts that process `pid` sees."""
    return list(parse_mountinfo(Path(f"/proc/{pid}/mountinfo").read_bytes()))


def mount_at(path: Path) -> MountInfo | None:
    """The topmost mount whose root is `path` (absolute, no symlinks); None if there is none."""
    wanted = os.fsencode(path)
    found = None
    for mount in mounts():
        if mount.mountpoint == wanted:
            found = mount
    return found


def resolve(path: Path | str) -> Path:
    """`path` absolute and without symlinks in its directories; its last part is not looked at.

    So a mount point is named as the kernel names it, without a call into what is mounted there.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."
    return Path(os.path.realpath(whole.parent)) / whole.name


def umount(path: Path, detach: bool = False) -> None:
    """Unmount what is at `path`. OSError: EBUSY while it is in use (not with `detach`), EINVAL."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if detach else 0)
    if _libc.umount2(os.fsencode(path), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fspath(path))


def syncfs(path: Path) -> None:
    """Write the file system that holds `path` to its device."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(path))
    finally:
        os.close(fd)


def raise_read_ahead(device: str, kib: int) -> bool:
    """Have the kernel read `kib` KiB ahead on a mount's device; False: not allowed."""
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(kib))
    except OSError:
        return False
    return True
