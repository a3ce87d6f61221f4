"""What `cp` copies, as entries with their bytes: a tree's, a directory's, a tar's. Writes nothing.

Paths in entries are relative to the destination. A second name of a file is a hard link to the
first where both are copied. Sockets are left out, as no tar can hold them.
"""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, Protocol, Self

from imagefs.errors import InvalidInputError
from imagefs.formats.index import Entry
from imagefs.tree import ROOT, Content, Tree

_PIECE = 1 << 20
_SECOND = 1_000_000_000
_SYMLINKS = 40

#: Reads the content of a file of a tree: where it lies, offset in it, length.
ReadContent = Callable[[Content, int, int], bytes]


class CopyError(InvalidInputError):
    """What can't be copied, or not to there; the message says why."""


class Item(NamedTuple):
    """One entry; `data` gives its `entry.size` bytes once, and is read before the next item."""

    entry: Entry
    data: Iterator[bytes]


class Source(Protocol):
    """One file or directory to copy; the name of a root is b""."""

    @property
    def name(self) -> bytes:
        """Its last name."""
        ...

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        ...

    def items(self, path: bytes) -> Iterator[Item]:
        """It and all below it, parents first, as if it were called `path`."""
        ...


def look_up(tree: Tree, path: bytes) -> tuple[int, bytes] | None:
    """The inode that `path` means, its symlinks followed inside the tree, and its last name.

    None where there is nothing; CopyError for a chain of links that has no end.
    """
    at = [(ROOT, b"")]
    todo = path.split(b"/")[::-1]
    links = 0
    while todo:
        name = todo.pop()
        if name == b"..":
            at = at[:-1] or at
        if name in (b"", b".", b".."):
            continue
        here = at[-1][0]
        found = tree.child(here, name) if tree.attr(here).kind == stat.S_IFDIR else None
        if found is None:
            return None
        if tree.attr(found).kind != stat.S_IFLNK:
            at.append((found, name))
            continue
        links += 1
        if links > _SYMLINKS:
            raise CopyError(f"{os.fsdecode(path)}: too many levels of symbolic links")
        target = tree.readlink(found)
        if target.startswith(b"/"):
            del at[1:]
        todo += target.split(b"/")[::-1]
    return at[-1]


@dataclass
class TreeSource:
    """An inode of an image's tree; what `contents` lists must be readable before `items`."""

    tree: Tree
    ino: int
    name: bytes
    read: ReadContent

    @property
    def is_directory(self) -> bool:
        """See `Source`."""
        return self.tree.attr(self.ino).kind == stat.S_IFDIR

    def items(self, path: bytes) -> Iterator[Item]:
        """See `Source`."""
        seen: dict[int, bytes] = {}
        for below, ino in walk(self.tree, self.ino):
            yield self._item(ino, _join(path, below), seen)

    def _item(self, ino: int, path: bytes, seen: dict[int, bytes]) -> Item:
        attr = self.tree.attr(ino)
        linked = attr.kind != stat.S_IFDIR and attr.nlink > 1
        if linked and ino in seen:
            return Item(Entry(path, 0, attr.mode, link=seen[ino]), iter(()))
        seen.setdefault(ino, path)
        entry = Entry(
            path,
            attr.kind,
            attr.mode,
            attr.uid,
            attr.gid,
            attr.size if attr.kind == stat.S_IFREG else 0,
            attr.mtime_ns,
            self.tree.readlink(ino) if attr.kind == stat.S_IFLNK else b"",
            os.major(attr.rdev),
            os.minor(attr.rdev),
            tuple(sorted(self.tree.xattrs(ino).items())),
        )
        return Item(entry, self._data(ino, entry.size))

    def _data(self, ino: int, size: int) -> Iterator[bytes]:
        content = self.tree.content(ino)
        if content is None:
            return
        for at in range(0, size, _PIECE):
            yield self.read(content, at, min(_PIECE, size - at))


def walk(tree: Tree, top: int) -> Iterator[tuple[bytes, int]]:
    """`top` as b"", then each thing below it with its path from there, parents first."""
    todo = [(b"", top)]
    while todo:
        path, ino = todo.pop()
        yield path, ino
        if tree.attr(ino).kind == stat.S_IFDIR:
            todo += [(_join(path, name), child) for name, child in tree.children(ino)[::-1]]


def contents(tree: Tree, top: int) -> list[Content]:
    """Where the bytes of all files at and below `top` lie, each once."""
    found = {ino: tree.content(ino) for _, ino in walk(tree, top)}
    return [content for content in found.values() if content is not None]


class FileSource:
    """A file or directory of the host, or of a mount, by a descriptor that it then owns.

    Nothing below it is reached through a symlink, whoever swaps one in meanwhile.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._path = os.fsencode(Path(f"/proc/self/fd/{fd}").readlink())
        self.name = self._path.rpartition(b"/")[2]
        self.is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)

    def items(self, path: bytes) -> Iterator[Item]:
        """See `Source`."""
        if not self.is_directory:
            yield Item(*_described(self._fd, path))
            return
        yield from _below(self._fd, path, {})

    def holds(self, path: str) -> bool:
        """Whether the real path `path` is this directory's or one below it."""
        return (os.fsencode(path) + b"/").startswith(self._path.rstrip(b"/") + b"/")

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def _below(directory: int, path: bytes, seen: dict[tuple[int, int], bytes]) -> Iterator[Item]:
    yield Item(*_described(directory, path))
    for name in sorted(map(os.fsencode, os.listdir(directory))):
        here = _join(path, name)
        try:
            kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            flags = os.O_RDONLY if stat.S_ISREG(kind) or stat.S_ISDIR(kind) else os.O_PATH
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except FileNotFoundError:
            continue  # gone meanwhile
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                yield from _below(fd, here, seen)
            elif (item := _found(fd, here, seen)) is not None:
                yield item
        finally:
            os.close(fd)


def _found(fd: int, path: bytes, seen: dict[tuple[int, int], bytes]) -> Item | None:
    found = os.fstat(fd)
    if stat.S_ISSOCK(found.st_mode):
        return None
    key = found.st_dev, found.st_ino
    if found.st_nlink > 1 and key in seen:
        return Item(Entry(path, 0, stat.S_IMODE(found.st_mode), link=seen[key]), iter(()))
    seen[key] = path
    return Item(*_described(fd, path))


def _described(fd: int, path: bytes) -> tuple[Entry, Iterator[bytes]]:
    found = os.fstat(fd)
    kind = stat.S_IFMT(found.st_mode)
    plain = kind in (stat.S_IFREG, stat.S_IFDIR)
    size = found.st_size if kind == stat.S_IFREG else 0
    entry = Entry(
        path,
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        size,
        found.st_mtime_ns,
        os.readlink(b"", dir_fd=fd) if kind == stat.S_IFLNK else b"",
        os.major(found.st_rdev),
        os.minor(found.st_rdev),
        tuple((os.fsencode(key), os.getxattr(fd, key)) for key in os.listxattr(fd))
        if plain
        else (),
    )
    return entry, _file_data(fd, size)


def _file_data(fd: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        piece = os.pread(fd, min(_PIECE, size - at), at)
        if not piece:
            raise CopyError("a file got shorter while it was copied: try again")
        at += len(piece)
        yield piece


#: What tarfile raises for bytes that are no archive: TypeError for a gzip header that ends early.
_DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, TypeError, ValueError)


class _Strict(tarfile.TarInfo):
    """A member whose broken header is an error: after the first tarfile takes it for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """See tarfile."""
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            # Which it is has no public name.
            if type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError"):
                raise
            raise tarfile.ReadError(str(error)) from None


def tar_items(file: IO[bytes]) -> Iterator[Item]:
    """The entries of a tar stream, also a compressed one. Raises CopyError for other bytes."""
    try:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Strict) as tar:
            for member in tar:
                if (entry := _of_member(member)) is not None:
                    yield Item(entry, _member_data(tar, member))
    except _DAMAGED as error:
        raise CopyError(f"-: no tar archive, or a damaged one: {error}") from None


_KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.CONTTYPE: stat.S_IFREG,
    tarfile.GNUTYPE_SPARSE: stat.S_IFREG,
    tarfile.LNKTYPE: 0,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}
_XATTR = "SCHILY.xattr."


def _of_member(member: tarfile.TarInfo) -> Entry | None:
    kind = _KINDS.get(member.type)
    path = _clean(os.fsencode(member.name))
    if kind is None or not path:
        return None
    link = os.fsencode(member.linkname)
    xattrs = [
        (os.fsencode(key.removeprefix(_XATTR)), os.fsencode(value))
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    ]
    return Entry(
        path,
        kind,
        member.mode & 0o7777,
        member.uid,
        member.gid,
        member.size if kind == stat.S_IFREG else 0,
        _time(member),
        _clean(link) if kind == 0 else link,
        member.devmajor,
        member.devminor,
        tuple(xattrs),
    )


def _member_data(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member) if member.isreg() else None
    while file is not None and (piece := file.read(_PIECE)):
        yield piece


def _time(member: tarfile.TarInfo) -> int:
    """Nanoseconds, which a float has no room for."""
    text = member.pax_headers.get("mtime")
    if text is None:
        return int(member.mtime) * _SECOND
    whole, _, fraction = text.partition(".")
    nanoseconds = int((fraction + "0" * 9)[:9])
    return int(whole) * _SECOND + (-nanoseconds if whole.startswith("-") else nanoseconds)


def _clean(path: bytes) -> bytes:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise CopyError(f"-: {os.fsdecode(path)}: refused: a name in the archive leads out of it")
    return b"/".join(parts)


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path and name else path or name
