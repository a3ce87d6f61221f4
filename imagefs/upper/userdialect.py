"""An upper for users without privileges: owners and kinds in a xattr. Never mounted by the kernel.

Every object but a directory is a regular file; all belong to the user and are open to them. The
xattr `user.imagefs.override` says what they stand for: `1:MODE:UID:GID:RDEV` (MODE octal with type
bits, the rest decimal). The content of a symlink's stand-in is its target. docs/formats/upper.md
has the rest.
"""

from __future__ import annotations

import os
import stat

from imagefs.errors import ImagefsError
from imagefs.upper.dialect import (
    Marks,
    Meta,
    backing_stat,
    is_whiteout,
    read_marks,
    write_mark,
)
from imagefs.upper.types import Stat
from imagefs.upper.upperdir import proc_path

VERSION = b"1"
_PRIVATE = b"user.imagefs."
_OVERRIDE = b"user.imagefs.override"
_ESCAPED = b"user.imagefs.x."  # xattrs of other namespaces, and users' own that look like ours
_KEYS = {
    key: _PRIVATE + key.encode()
    for key in ("whiteout", "opaque", "metacopy", "redirect", "ino", "origin", "filling", "gone")
}


class DialectError(ImagefsError):
    """An upper written by a version of imagefs that this one does not know."""


class UserDialect:
    """Regular files and directories with `user.imagefs.*` xattrs. ACLs are kept, not applied."""

    acls = False

    def stat(self, dir_fd: int, name: bytes) -> Stat:
        """What the override xattr says, with the size of the stand-in."""
        st = backing_stat(dir_fd, name)
        if is_whiteout(st):
            return st
        mode, uid, gid, rdev = self._override(dir_fd, name)
        size = st.size if stat.S_ISREG(mode) or stat.S_ISLNK(mode) else 0
        if stat.S_ISDIR(mode):
            size = st.size
        return st._replace(mode=mode, uid=uid, gid=gid, rdev=rdev, size=size)

    def _override(self, dir_fd: int, name: bytes) -> tuple[int, int, int, int]:
        try:
            raw = os.getxattr(proc_path(dir_fd, name), _OVERRIDE, follow_symlinks=False)
        except OSError as error:
            if name == b".":  # the upper's root before anything changed it
                return stat.S_IFDIR | 0o755, 0, 0, 0
            raise DialectError(f"{os.fsdecode(name)} in the upper: {error.strerror}") from error
        version, *fields = raw.split(b":")
        if version != VERSION or len(fields) != 4:
            raise DialectError(
                f"{os.fsdecode(name)} in the upper has a form that is unknown here: {raw!r}; "
                "use the version of imagefs that wrote it"
            )
        mode, uid, gid, rdev = fields
        return int(mode, 8), int(uid), int(gid), int(rdev)

    def _set_override(
        self, dir_fd: int, name: bytes, mode: int, uid: int, gid: int, rdev: int
    ) -> None:
        value = b"%s:%o:%d:%d:%d" % (VERSION, mode, uid, gid, rdev)
        os.setxattr(proc_path(dir_fd, name), _OVERRIDE, value, follow_symlinks=False)

    def marks(self, dir_fd: int, name: bytes, st: Stat) -> Marks:
        """From `user.imagefs.*`."""
        if is_whiteout(st):
            return Marks(whiteout=True)
        return read_marks(proc_path(dir_fd, name), _KEYS, _PRIVATE, st)

    def mark(self, dir_fd: int, name: bytes, key: str, value: bytes | None) -> None:
        """In `user.imagefs.*`."""
        write_mark(proc_path(dir_fd, name), _KEYS[key], value)

    def make(self, dir_fd: int, name: bytes, meta: Meta, inherit: bool = False) -> None:
        """A stand-in. `inherit` does not happen here."""
        if stat.S_ISDIR(meta.mode):
            os.mkdir(name, 0o700, dir_fd=dir_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
            try:
                if stat.S_ISLNK(meta.mode):
                    os.write(fd, meta.target)
            finally:
                os.close(fd)
        self._set_override(dir_fd, name, meta.mode, meta.uid, meta.gid, meta.rdev)

    def chmod(self, dir_fd: int, name: bytes, mode: int) -> None:
        """In the override xattr, in one step."""
        old, uid, gid, rdev = self._override(dir_fd, name)
        self._set_override(dir_fd, name, stat.S_IFMT(old) | mode, uid, gid, rdev)

    def chown(self, dir_fd: int, name: bytes, uid: int, gid: int) -> None:
        """In the override xattr, in one step."""
        mode, old_uid, old_gid, rdev = self._override(dir_fd, name)
        if not stat.S_ISDIR(mode):  # as chown(2)
            mode &= ~stat.S_ISUID
            if mode & stat.S_IXGRP:
                mode &= ~stat.S_ISGID
        uid, gid = old_uid if uid == -1 else uid, old_gid if gid == -1 else gid
        self._set_override(dir_fd, name, mode, uid, gid, rdev)

    def readlink(self, dir_fd: int, name: bytes) -> bytes:
        """The content of the stand-in."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            return os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def stored_xattr(self, name: bytes) -> bytes:
        """`user.*` as they are, but for ours; others escaped."""
        ours = name.startswith(_PRIVATE) or not name.startswith(b"user.")
        return _ESCAPED + name if ours else name

    def shown_xattr(self, stored: bytes) -> bytes | None:
        """Unescaped; our own are private."""
        if stored.startswith(_ESCAPED):
            return stored[len(_ESCAPED) :]
        return None if stored.startswith(_PRIVATE) else stored
