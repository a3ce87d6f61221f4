"""Files inside a container's root, its symlinks followed inside it. Never leaves the root.

An image decides what /etc/passwd or /var/lib is a link to; only the kernel can follow that safely
(openat2(2), RESOLVE_IN_ROOT, Linux 5.6).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_LIMIT = 8 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in(root: Path, path: str, flags: int) -> int:
    """A descriptor of `path` inside `root`; OSError as open(2), and ELOOP for magic links."""
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _openat2(base, path, flags)
    finally:
        os.close(base)


def read_in(root: Path, path: str) -> bytes:
    """The regular file at `path` inside `root`, at most 8 MiB; b"" where there is none."""
    try:
        fd = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return b""
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        found = b""
        while len(found) < _LIMIT and (piece := os.read(fd, _LIMIT - len(found))):
            found += piece
        return found
    finally:
        os.close(fd)


def stat_in(root: Path, path: str) -> os.stat_result | None:
    """What `path` inside `root` is, links followed; None where there is nothing."""
    try:
        fd = open_in(root, path, os.O_PATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def make_directory_in(root: Path, path: str, uid: int, gid: int) -> bool:
    """Make the directory `path` with those missing above it; whether it was missing.

    It belongs to `uid` and `gid`, those above it to root. OSError: ENOTDIR where a file is.
    """
    parts = [part for part in path.split("/") if part]
    made = False
    for count in range(1, len(parts) + 1):
        made = _make_one(root, "/".join(parts[: count - 1]) or ".", parts[count - 1])
    if made:
        fd = open_in(root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchown(fd, uid, gid)
        finally:
            os.close(fd)
    return made


def _make_one(root: Path, parent: str, name: str) -> bool:
    found = stat_in(root, f"{parent}/{name}")
    if found is not None:
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), f"{parent}/{name}")
        return False
    fd = open_in(root, parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.mkdir(name, 0o755, dir_fd=fd)
    finally:
        os.close(fd)
    return True


def _openat2(base: int, path: str, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    fd: int = _syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_int(base),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd
