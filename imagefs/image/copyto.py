"""Where `cp` copies to: a directory, whatever lies in it, or a tar stream. Fetches nothing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import IO

from imagefs.formats.index import Entry
from imagefs.formats.tarwrite import TarWriter
from imagefs.image.copyfrom import CopyError, Item

#: What podman's copier keeps of extended attributes.
_KEPT = (b"user.",)
_KEPT_WHOLE = (b"security.capability", b"security.ima")
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)

#: Opens the directory at a path below the destination, following links only inside what the
#: destination is part of.
OpenDirectory = Callable[[bytes], int]


def write_tar(items: Iterable[Item], out: IO[bytes]) -> None:
    """Write the items as a tar archive."""
    tar = TarWriter()
    for entry, data in items:
        out.write(tar.header(entry))
        for piece in data:
            out.write(piece)
        if entry.kind == stat.S_IFREG:
            out.write(tar.padding(entry.size))
    out.write(tar.end())
    out.flush()


class Directory:
    """Puts items into a directory; a context manager that finishes what only its end can.

    Directories get their modes and times at the end. A regular file is there whole or not at all.
    `owner` is for everything where it is given, else entries keep theirs. Without `devices` device
    nodes are left out. With `overwrite` a directory gives way to a file and a file to a directory,
    which is an error else. `warnings` says what could not be kept.
    """

    def __init__(
        self,
        open_directory: OpenDirectory,
        *,
        owner: tuple[int, int] | None = None,
        overwrite: bool = False,
        devices: bool = False,
    ) -> None:
        self._open = open_directory
        self._owner = owner
        self._overwrite = overwrite
        self._devices = devices
        self._later: dict[bytes, Entry] = {}
        self._parent: tuple[bytes, int] | None = None
        self.warnings: list[str] = []

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for path in sorted(self._later, reverse=True):
                self._finish(path, self._later[path])
        except OSError:
            if error is None:
                raise
        finally:
            self._leave()

    def put(self, item: Item) -> None:
        """Make one entry, whose parents must be there. Raises CopyError, OSError."""
        entry = item.entry
        if entry.kind in _DEVICES and not self._devices:
            return
        parent, _, name = entry.path.rpartition(b"/")
        directory = self._enter(parent)
        if self._make_room(directory, name, entry):
            return
        if entry.kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=directory)
        elif entry.kind == stat.S_IFREG:
            self._file(directory, name, item)
        elif entry.kind == 0:
            self._link(directory, name, entry)
        else:
            self._special(directory, name, entry)

    def _make_room(self, directory: int, name: bytes, entry: Entry) -> bool:
        """Take away what is in the way; True for a directory that may stay."""
        if entry.kind == stat.S_IFDIR:
            self._later[entry.path] = entry
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(found) and entry.kind == stat.S_IFDIR:
            return True
        if stat.S_ISDIR(found) != (entry.kind == stat.S_IFDIR) and not self._overwrite:
            self._later.pop(entry.path, None)
            what = "a directory" if stat.S_ISDIR(found) else "no directory"
            raise CopyError(f"{_shown(entry.path)}: there is {what} of that name: use --overwrite")
        if stat.S_ISDIR(found):
            shutil.rmtree(f"/proc/self/fd/{directory}/".encode() + name)
        elif entry.kind != stat.S_IFREG:  # a file replaces it in one step
            os.unlink(name, dir_fd=directory)
        return False

    def _file(self, directory: int, name: bytes, item: Item) -> None:
        hidden = b".imagefs-" + secrets.token_hex(8).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(hidden, flags, 0o600, dir_fd=directory)
        try:
            for piece in item.data:
                write_all(fd, piece)
            self._attributes(fd, item.entry)
            os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(hidden, dir_fd=directory)
            raise
        finally:
            os.close(fd)

    def _link(self, directory: int, name: bytes, entry: Entry) -> None:
        parent, _, target = entry.link.rpartition(b"/")
        fd = self._open(parent)
        try:
            os.link(target, name, src_dir_fd=fd, dst_dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            raise CopyError(
                f"{_shown(entry.path)}: a link to {_shown(entry.link)}, which is not there"
            ) from None
        finally:
            os.close(fd)

    def _special(self, directory: int, name: bytes, entry: Entry) -> None:
        if entry.kind == stat.S_IFLNK:
            os.symlink(entry.link, name, dir_fd=directory)
        else:
            device = os.makedev(entry.major, entry.minor)
            os.mknod(name, entry.kind | 0o600, device, dir_fd=directory)
        os.chown(name, *self._owner_of(entry), dir_fd=directory, follow_symlinks=False)
        if entry.kind != stat.S_IFLNK:
            os.chmod(name, entry.mode, dir_fd=directory)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def _finish(self, path: bytes, entry: Entry) -> None:
        fd = self._open(path)
        try:
            self._attributes(fd, entry)
        finally:
            os.close(fd)

    def _attributes(self, fd: int, entry: Entry) -> None:
        os.fchown(fd, *self._owner_of(entry))
        os.fchmod(fd, entry.mode)
        for key, value in entry.xattrs:
            if key in _KEPT_WHOLE or key.startswith(_KEPT):
                self._xattr(fd, key, value, entry)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _xattr(self, fd: int, key: bytes, value: bytes, entry: Entry) -> None:
        try:
            os.setxattr(fd, key, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            self.warnings.append(f"{_shown(entry.path)}: {_shown(key)} not kept: {error.strerror}")

    def _owner_of(self, entry: Entry) -> tuple[int, int]:
        return self._owner if self._owner is not None else (entry.uid, entry.gid)

    def _enter(self, path: bytes) -> int:
        """A descriptor of the directory, kept for the next entry, which is often in it too."""
        if self._parent is None or self._parent[0] != path:
            fd = self._made(path)
            self._leave()
            self._parent = path, fd
        return self._parent[1]

    def _made(self, path: bytes) -> int:
        """The directory, made if it is missing: archives may leave out what is above a file."""
        try:
            return self._open(path)
        except FileNotFoundError:
            if not path:
                raise
        parent, _, name = path.rpartition(b"/")
        above = self._made(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        finally:
            os.close(above)
        return self._open(path)

    def _leave(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None


def write_all(fd: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
