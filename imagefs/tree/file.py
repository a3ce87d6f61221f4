"""The compact file that holds a merged tree, and the view that reads it in place.

A tree file is written once for each list of layer keys and mapped afterwards; nothing is parsed at
open. It opens no file itself: callers pass a buffer. The layout is described in
docs/formats/tree.md.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from imagefs.errors import ImagefsError
from imagefs.tree.node import Directory, Node

ROOT = 1
MAGIC = b"imagefsT"
VERSION = 1

#: magic, version, layers, inodes, dirents, names, then the sizes of the string and xattr heaps,
#: and the sum of all file sizes.
_HEADER = Struct("<8sIIIII4xQQQ")
#: mode, nlink, uid, gid, rdev, size, mtime seconds, mtime nanoseconds, layer, data offset,
#: first (dirent of a directory, string of a symlink), count (likewise), first name, xattrs.
_INODE = Struct("<IIIIQQqIIQIIII")
#: string offset, length, inode.
_DIRENT = Struct("<IHxxI")
#: parent inode, dirent.
_NAME = Struct("<II")
_XATTR_COUNT = Struct("<H")
_XATTR = Struct("<HI")
_BILLION = 1_000_000_000


class TreeError(ImagefsError):
    """A tree file that is damaged or of an unknown version; the layer indexes make it anew."""


class Attr(NamedTuple):
    """The attributes of an inode; `kind` is its S_IFMT bits, `mode` the 12 permission bits."""

    ino: int
    kind: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    mtime_ns: int


class Content(NamedTuple):
    """Where a file's bytes lie: `offset` counts in the data file of layer number `layer`."""

    layer: int
    offset: int
    size: int


def makedev(major: int, minor: int) -> int:
    """A device number as Linux's stat shows it (glibc's gnu_dev_makedev)."""
    low = (minor & 0xFF) | (major & 0xFFF) << 8
    return low | (minor & ~0xFF) << 12 | (major & ~0xFFF) << 32


class Tree:
    """A merged tree: answers by inode number, from a buffer, without any state of its own.

    Inode numbers are 1 (the root) to `count`, in pre-order of the sorted names: the same layers
    give the same numbers on every machine. Methods that take an inode number raise IndexError for
    others.
    """

    def __init__(self, buffer: bytes | memoryview) -> None:
        self._buffer = memoryview(buffer)
        try:
            magic, version, *counts = _HEADER.unpack_from(self._buffer)
        except Exception as error:
            raise TreeError(f"tree file: truncated header ({error})") from None
        if magic != MAGIC:
            raise TreeError("tree file: not one (wrong magic)")
        if version != VERSION:
            raise TreeError(f"tree file: version {version} is unknown here (known: {VERSION})")
        self.layers, self.count, dirents, names, strings, xattrs, self.size = counts
        self._inodes = _HEADER.size - _INODE.size  # inode numbers start at 1
        self._dirents = _HEADER.size + self.count * _INODE.size
        self._names = self._dirents + dirents * _DIRENT.size
        self._strings = self._names + names * _NAME.size
        self._xattrs = self._strings + strings
        if self._xattrs + xattrs != len(self._buffer):
            raise TreeError("tree file: wrong length")

    @classmethod
    def open(cls, buffer: bytes | memoryview) -> Tree:
        """The tree in `buffer`, which may be a mapped file. Raises TreeError."""
        return cls(buffer)

    def _inode(self, ino: int) -> tuple[int, ...]:
        if not 1 <= ino <= self.count:
            raise IndexError(ino)
        return _INODE.unpack_from(self._buffer, self._inodes + ino * _INODE.size)

    def _string(self, offset: int, length: int) -> bytes:
        start = self._strings + offset
        return bytes(self._buffer[start : start + length])

    def _dirent(self, index: int) -> tuple[bytes, int]:
        offset, length, ino = _DIRENT.unpack_from(
            self._buffer, self._dirents + index * _DIRENT.size
        )
        return self._string(offset, length), ino

    def attr(self, ino: int) -> Attr:
        """The attributes of `ino`."""
        mode, nlink, uid, gid, rdev, size, seconds, nanoseconds, *_ = self._inode(ino)
        return Attr(
            ino,
            stat.S_IFMT(mode),
            stat.S_IMODE(mode),
            nlink,
            uid,
            gid,
            rdev,
            size,
            seconds * _BILLION + nanoseconds,
        )

    def child(self, ino: int, name: bytes) -> int | None:
        """The inode that `name` has in directory `ino`; None where there is none."""
        inode = self._inode(ino)
        if not stat.S_ISDIR(inode[0]):
            return None
        low, high = inode[10], inode[10] + inode[11]
        while low < high:
            middle = (low + high) // 2
            found, child = self._dirent(middle)
            if found == name:
                return child
            if found < name:
                low = middle + 1
            else:
                high = middle
        return None

    def children(self, ino: int) -> list[tuple[bytes, int]]:
        """(name, inode) of each entry of directory `ino`, sorted by name; empty for others."""
        inode = self._inode(ino)
        if not stat.S_ISDIR(inode[0]):
            return []
        return [self._dirent(index) for index in range(inode[10], inode[10] + inode[11])]

    def names(self, ino: int) -> tuple[tuple[int, bytes], ...]:
        """(parent, name) of each name of `ino`: as many as it has links, one for a directory."""
        inode = self._inode(ino)
        if ino == ROOT:
            return ()
        count = 1 if stat.S_ISDIR(inode[0]) else inode[1]
        rows = (
            _NAME.unpack_from(self._buffer, self._names + index * _NAME.size)
            for index in range(inode[12], inode[12] + count)
        )
        return tuple((parent, self._dirent(dirent)[0]) for parent, dirent in rows)

    def parent(self, ino: int) -> int:
        """The directory that holds the first name of `ino`; the root's is the root."""
        return self.names(ino)[0][0] if ino != ROOT else ROOT

    def path(self, ino: int) -> bytes:
        """The path of the first name of `ino`, from the root; b"" for the root itself."""
        parts: list[bytes] = []
        while ino != ROOT:
            ino, name = self.names(ino)[0]
            parts.append(name)
        return b"/".join(reversed(parts))

    def lookup(self, path: bytes) -> int | None:
        """The inode at `path` (from the root, symlinks not followed); None where there is none."""
        ino: int | None = ROOT
        for name in path.split(b"/"):
            if name and ino is not None:
                ino = self.child(ino, name)
        return ino

    def readlink(self, ino: int) -> bytes:
        """The target of symlink `ino`; b"" for anything else."""
        inode = self._inode(ino)
        return self._string(inode[10], inode[11]) if stat.S_ISLNK(inode[0]) else b""

    def content(self, ino: int) -> Content | None:
        """Where the bytes of regular file `ino` lie; None where it has none."""
        inode = self._inode(ino)
        if not stat.S_ISREG(inode[0]) or not inode[5]:
            return None
        return Content(inode[8], inode[9], inode[5])

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        """The extended attributes of `ino`."""
        where = self._inode(ino)[13]
        if not where:
            return {}
        position = self._xattrs + where
        (count,) = _XATTR_COUNT.unpack_from(self._buffer, position)
        position += _XATTR_COUNT.size
        found: dict[bytes, bytes] = {}
        for _ in range(count):
            name_length, value_length = _XATTR.unpack_from(self._buffer, position)
            position += _XATTR.size
            name = bytes(self._buffer[position : position + name_length])
            position += name_length
            found[name] = bytes(self._buffer[position : position + value_length])
            position += value_length
        return found

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """(path, inode) of every name, pre-order, from (b"", ROOT) on."""
        todo: list[tuple[bytes, int]] = [(b"", ROOT)]
        while todo:
            path, ino = todo.pop()
            yield path, ino
            prefix = path + b"/" if path else b""
            todo += [(prefix + name, child) for name, child in reversed(self.children(ino))]


class _Writer:
    """Collects the tables of a tree file."""

    def __init__(self) -> None:
        self.order: list[Node] = []
        self.dirents: list[tuple[bytes, Node]] = []
        self.first: dict[int, int] = {}
        self.named: dict[int, list[tuple[int, int]]] = {}
        self.strings = bytearray()
        self.places: dict[bytes, int] = {}
        self.xattrs = bytearray(1)  # 0 stands for "none"
        self.sets: dict[tuple[tuple[bytes, bytes], ...], int] = {}

    def number(self, root: Node) -> None:
        """Give each inode its number, in pre-order; a hard link counts where its first name is."""
        todo = [root]
        while todo:
            node = todo.pop()
            if node.ino:
                continue
            self.order.append(node)
            node.ino = len(self.order)
            if isinstance(node, Directory):
                todo += [node.children[name] for name in sorted(node.children, reverse=True)]

    def enter(self) -> None:
        """Write down the entries of each directory, and for each inode which entries name it."""
        for node in self.order:
            if not isinstance(node, Directory):
                continue
            self.first[node.ino] = len(self.dirents)
            for name in sorted(node.children):
                child = node.children[name]
                self.named.setdefault(child.ino, []).append((node.ino, len(self.dirents)))
                self.dirents.append((name, child))

    def string(self, text: bytes) -> int:
        place = self.places.get(text)
        if place is None:
            place = self.places[text] = len(self.strings)
            self.strings += text
        return place

    def xattr_set(self, xattrs: tuple[tuple[bytes, bytes], ...]) -> int:
        if not xattrs:
            return 0
        key = tuple(sorted(dict(xattrs).items()))
        place = self.sets.get(key)
        if place is None:
            place = self.sets[key] = len(self.xattrs)
            self.xattrs += _XATTR_COUNT.pack(len(key))
            for name, value in key:
                self.xattrs += _XATTR.pack(len(name), len(value)) + name + value
        return place

    def inode(self, node: Node, first_name: int) -> bytes:
        entry = node.entry
        first = count = size = 0
        nlink = node.names
        if isinstance(node, Directory):
            first, count = self.first[node.ino], len(node.children)
            nlink = 2 + sum(isinstance(child, Directory) for child in node.children.values())
        elif stat.S_ISLNK(entry.kind):
            first, count, size = self.string(entry.link), len(entry.link), len(entry.link)
        elif stat.S_ISREG(entry.kind):
            size = entry.size
        device = stat.S_ISCHR(entry.kind) or stat.S_ISBLK(entry.kind)
        return _INODE.pack(
            entry.kind | entry.mode,
            nlink,
            entry.uid,
            entry.gid,
            makedev(entry.major, entry.minor) if device else 0,
            size,
            *divmod(entry.mtime_ns, _BILLION),
            max(node.layer, 0),
            entry.data_offset,
            first,
            count,
            first_name,
            self.xattr_set(entry.xattrs),
        )


def encode(root: Node, layers: int) -> bytes:
    """The tree file of the tree under `root`; the same tree gives the same bytes.

    Raises TreeError for a tree whose numbers do not fit the tables.
    """
    try:
        return _encode(root, layers)
    except struct.error as error:
        raise TreeError(f"the merged tree is too large for a tree file ({error})") from None


def _encode(root: Node, layers: int) -> bytes:
    writer = _Writer()
    writer.number(root)
    writer.enter()
    inodes, names = bytearray(), bytearray()
    for node in writer.order:
        inodes += writer.inode(node, len(names) // _NAME.size)
        for name in writer.named.get(node.ino, ()):
            names += _NAME.pack(*name)
    dirents = b"".join(
        _DIRENT.pack(writer.string(name), len(name), child.ino) for name, child in writer.dirents
    )
    total = sum(n.entry.size for n in writer.order if stat.S_ISREG(n.entry.kind))
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        layers,
        len(writer.order),
        len(writer.dirents),
        len(names) // _NAME.size,
        len(writer.strings),
        len(writer.xattrs),
        total,
    )
    return b"".join((header, inodes, dirents, names, writer.strings, writer.xattrs))
