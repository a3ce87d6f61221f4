"""Copies a directory of an image into a volume, attributes and all. Merges nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_PIECE = 1 << 20


def copy_directory(source: int, target: Path) -> None:
    """All in the directory open as `source` to the existing directory `target`; OSError.

    No symlink is followed on either side. Hard links become files of their own.
    """
    for name in sorted(os.listdir(source)):
        _copy(source, name, target / name)
    _copy_attributes(source, os.fstat(source), target)


def chown_tree(path: Path, uid: int, gid: int) -> None:
    """Give `path` and all below it to `uid` and `gid`; links themselves, not what they point to."""
    os.chown(path, uid, gid, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir():
        return
    for entry in path.iterdir():
        chown_tree(entry, uid, gid)


def _copy(directory: int, name: str, target: Path) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFLNK:
        target.symlink_to(os.readlink(name, dir_fd=directory))
        os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
        _copy_times(found, target)
        return
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        os.mknod(target, found.st_mode, found.st_rdev)
        _own(found, target)
        return
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if kind == stat.S_IFDIR:
            target.mkdir(mode=0o700)
            copy_directory(fd, target)
        else:
            _copy_content(fd, target)
            _copy_attributes(fd, found, target)
    finally:
        os.close(fd)


def _copy_content(fd: int, target: Path) -> None:
    with open(target, "xb") as file:
        while piece := os.read(fd, _PIECE):
            file.write(piece)


def _copy_attributes(fd: int, found: os.stat_result, target: Path) -> None:
    for name in os.listxattr(fd):
        # The target's file system may have no such kind; the files are what counts.
        with contextlib.suppress(OSError):
            os.setxattr(target, name, os.getxattr(fd, name), follow_symlinks=False)
    _own(found, target)


def _own(found: os.stat_result, target: Path) -> None:
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    target.chmod(stat.S_IMODE(found.st_mode))  # after chown, which clears set-user-id
    _copy_times(found, target)


def _copy_times(found: os.stat_result, target: Path) -> None:
    try:
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
