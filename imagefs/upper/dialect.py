"""How overlay meaning is written on backing files: whiteouts, marks, owners. Knows no tree.

`OverlayDialect` is overlayfs's own on-disk format (Linux Documentation/filesystems/overlayfs.rst),
so that the kernel can mount what was written here, and the other way round. docs/formats/upper.md
has the bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, Protocol

from imagefs.upper.types import Stat
from imagefs.upper.upperdir import proc_path

WHITEOUT_RDEV = os.makedev(0, 0)


class Meta(NamedTuple):
    """What an object is made with. `mode` has the type bits."""

    mode: int
    uid: int
    gid: int
    rdev: int = 0
    target: bytes = b""


class Marks(NamedTuple):
    """What the dialect's private xattrs say about an object."""

    whiteout: bool = False
    opaque: bool = False
    metacopy: bool = False
    redirect: bytes = b""
    ino: int = 0
    origin: bool = False  # copied up by the kernel
    filling: int | None = None  # mtime_ns to restore: its data was being copied
    gone: bytes = b""  # a directory at this place (`gone_at`) was replaced


NO_MARKS = Marks()


def gone_at(ino: int, parent: int, name: bytes) -> bytes:
    """The mark of directory `ino`: if it is found at this name, another has replaced it."""
    return b"%d %d %s" % (ino, parent, name)


class Dialect(Protocol):
    """One way to write an upper. Every object is named by (directory descriptor, name).

    Whiteouts are the same in all: 0:0 character devices, also those that renameat2(2) leaves.
    """

    acls: bool
    """Whether the backing files apply POSIX ACLs themselves."""

    def stat(self, dir_fd: int, name: bytes) -> Stat:
        """As the user shall see it; `ino` is the backing's."""

    def marks(self, dir_fd: int, name: bytes, st: Stat) -> Marks:
        """What the private xattrs say; `st` is the object's."""

    def mark(self, dir_fd: int, name: bytes, key: str, value: bytes | None) -> None:
        """Set a mark (a field of `Marks`), or with None remove it (absent is fine)."""

    def make(self, dir_fd: int, name: bytes, meta: Meta, inherit: bool = False) -> None:
        """Make an object. `inherit`: the directory carries a default ACL that shall apply."""

    def chmod(self, dir_fd: int, name: bytes, mode: int) -> None:
        """Set the 12 permission bits. Not for symlinks."""

    def chown(self, dir_fd: int, name: bytes, uid: int, gid: int) -> None:
        """Set the owner; -1 leaves one. Takes set-id bits away as the system does."""

    def readlink(self, dir_fd: int, name: bytes) -> bytes:
        """The target of a symlink."""

    def stored_xattr(self, name: bytes) -> bytes:
        """Under which name a user's xattr lies on the backing file."""

    def shown_xattr(self, stored: bytes) -> bytes | None:
        """The reverse; None: private."""


_PRIVATE = b"trusted.overlay."
_ESCAPED = b"trusted.overlay.overlay."
_KEYS = {
    "whiteout": b"trusted.overlay.whiteout",
    "opaque": b"trusted.overlay.opaque",
    "metacopy": b"trusted.overlay.metacopy",
    "redirect": b"trusted.overlay.redirect",
    "ino": b"trusted.overlay.imagefs.ino",
    "origin": b"trusted.overlay.origin",
    "filling": b"trusted.overlay.imagefs.filling",
    "gone": b"trusted.overlay.imagefs.gone",
}


def read_marks(path: bytes, keys: dict[str, bytes], prefix: bytes, st: Stat) -> Marks:
    """The marks that lie in xattrs named `keys`, all of which start with `prefix`."""
    found = {os.fsencode(n) for n in os.listxattr(path, follow_symlinks=False)}
    if not any(n.startswith(prefix) for n in found):
        return NO_MARKS

    def value(key: str) -> bytes:
        if keys[key] not in found:
            return b""
        return os.getxattr(path, keys[key], follow_symlinks=False)

    is_file = stat.S_ISREG(st.mode)
    return Marks(
        whiteout=is_file and st.size == 0 and keys["whiteout"] in found,
        opaque=value("opaque") == b"y",
        metacopy=is_file and keys["metacopy"] in found,
        redirect=value("redirect"),
        ino=int(value("ino") or b"0"),
        origin=keys["origin"] in found,
        filling=int(value("filling")) if keys["filling"] in found else None,
        gone=value("gone"),
    )


def write_mark(path: bytes, xattr: bytes, value: bytes | None) -> None:
    """Set an xattr, or with None remove it; absent is fine."""
    if value is not None:
        os.setxattr(path, xattr, value, follow_symlinks=False)
        return
    try:
        os.removexattr(path, xattr, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise


def backing_stat(dir_fd: int, name: bytes) -> Stat:
    """lstat(2)."""
    st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    return Stat(
        st.st_ino,
        st.st_mode,
        st.st_nlink,
        st.st_uid,
        st.st_gid,
        st.st_rdev,
        st.st_size,
        st.st_atime_ns,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_blksize,
        st.st_blocks,
    )


def make_whiteout(dir_fd: int, name: bytes) -> None:
    """A 0:0 character device, which needs no privilege (Linux 5.8)."""
    os.mknod(name, stat.S_IFCHR, WHITEOUT_RDEV, dir_fd=dir_fd)


def is_whiteout(st: Stat) -> bool:
    """Whether this is the whiteout that both dialects use."""
    return stat.S_ISCHR(st.mode) and st.rdev == WHITEOUT_RDEV


class OverlayDialect:
    """overlayfs's format, for root: 0:0 whiteouts and `trusted.overlay.*`."""

    acls = True

    def stat(self, dir_fd: int, name: bytes) -> Stat:
        """As lstat(2)."""
        return backing_stat(dir_fd, name)

    def marks(self, dir_fd: int, name: bytes, st: Stat) -> Marks:
        """From `trusted.overlay.*`."""
        if is_whiteout(st):
            return Marks(whiteout=True)
        return read_marks(proc_path(dir_fd, name), _KEYS, _PRIVATE, st)

    def mark(self, dir_fd: int, name: bytes, key: str, value: bytes | None) -> None:
        """In `trusted.overlay.*`."""
        write_mark(proc_path(dir_fd, name), _KEYS[key], value)

    def make(self, dir_fd: int, name: bytes, meta: Meta, inherit: bool = False) -> None:
        """The very object."""
        kind, mode = stat.S_IFMT(meta.mode), stat.S_IMODE(meta.mode)
        # A default ACL is applied by the kernel to the mode given at creation, whatever the umask;
        # without one the mode is set afterwards, so that our umask does not matter.
        first = mode if inherit else 0o600
        if kind == stat.S_IFDIR:
            os.mkdir(name, first if inherit else 0o700, dir_fd=dir_fd)
        elif kind == stat.S_IFLNK:
            os.symlink(meta.target, name, dir_fd=dir_fd)
        elif kind == stat.S_IFREG:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, first, dir_fd=dir_fd))
        else:
            os.mknod(name, kind | first, meta.rdev, dir_fd=dir_fd)
        self.chown(dir_fd, name, meta.uid, meta.gid)
        if kind == stat.S_IFLNK:
            return
        if not inherit:
            self.chmod(dir_fd, name, mode)
        elif mode & 0o7000:  # chown took them away
            made = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
            self.chmod(dir_fd, name, stat.S_IMODE(made) | mode & 0o7000)

    def chmod(self, dir_fd: int, name: bytes, mode: int) -> None:
        """Of the very object."""
        os.chmod(name, mode, dir_fd=dir_fd)

    def chown(self, dir_fd: int, name: bytes, uid: int, gid: int) -> None:
        """Of the very object; symlinks are not followed."""
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)

    def readlink(self, dir_fd: int, name: bytes) -> bytes:
        """Where the symlink points."""
        return os.readlink(name, dir_fd=dir_fd)

    def stored_xattr(self, name: bytes) -> bytes:
        """`trusted.overlay.X` is escaped, as overlayfs does since Linux 6.7."""
        return _ESCAPED + name[len(_PRIVATE) :] if name.startswith(_PRIVATE) else name

    def shown_xattr(self, stored: bytes) -> bytes | None:
        """Unescaped; the unescaped ones are private."""
        if stored.startswith(_ESCAPED):
            return _PRIVATE + stored[len(_ESCAPED) :]
        return None if stored.startswith(_PRIVATE) else stored
