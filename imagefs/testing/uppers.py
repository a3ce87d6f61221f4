"""Trees with known content, and the same operations on an engine and on a plain directory.

For tests of the copy-on-write engine; never used by imagefs itself. `EngineDir` and `PlainDir` take
paths and raise OSError alike, and `dump` writes either as text lines that can be compared.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from imagefs.formats.index import Entry
from imagefs.system.renames import renameat2
from imagefs.tree import ROOT, Content, Tree
from imagefs.tree.file import encode
from imagefs.tree.merge import merge
from imagefs.upper import Caller, Engine, Journal, SetAttr, Stat

OLD = 1_600_000_000_000_000_000
"""Times of lower objects (ns) are about this; dumps show later ones as "now"."""
_NOW = OLD + 10**17


def lower_tree(entries: Iterable[Entry]) -> Tree:
    """A tree of one layer; each file's content is a function of where it lies."""
    placed: list[Entry] = []
    offset = 4096
    for entry in entries:
        if entry.kind == stat.S_IFREG and entry.size:
            fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
            placed.append(Entry(**{**fields, "data_offset": offset}))
            offset += -(-entry.size // 4096) * 4096
        else:
            placed.append(entry)
    return Tree.open(encode(merge([placed]), 1))


def data_of(content: Content) -> bytes:
    """The bytes at a place of the lower."""
    seed = b"%d at %d;" % (content.layer, content.offset)
    return (seed * (content.size // len(seed) + 1))[: content.size]


def extract(tree: Tree, into: Path, owners: bool) -> None:
    """Write a tree as files. `owners` needs root; else every object belongs to the caller."""
    done: dict[int, Path] = {}
    for path, ino in tree.walk():
        target = into / os.fsdecode(path) if path else into
        if ino in done and path:
            os.link(done[ino], target, follow_symlinks=False)
            continue
        done[ino] = target
        _extract_one(tree, ino, target)
        attr = tree.attr(ino)
        if owners:
            os.chown(target, attr.uid, attr.gid, follow_symlinks=False)
        if attr.kind != stat.S_IFLNK:
            target.chmod(attr.mode)
        for name, value in tree.xattrs(ino).items():
            os.setxattr(target, name, value, follow_symlinks=False)
    for ino, target in done.items():
        times = (tree.attr(ino).mtime_ns,) * 2
        os.utime(target, ns=times, follow_symlinks=False)


def _extract_one(tree: Tree, ino: int, target: Path) -> None:
    attr = tree.attr(ino)
    if attr.kind == stat.S_IFDIR:
        target.mkdir(parents=True, exist_ok=True)
    elif attr.kind == stat.S_IFLNK:
        target.symlink_to(os.fsdecode(tree.readlink(ino)))
    elif attr.kind == stat.S_IFREG:
        content = tree.content(ino)
        target.write_bytes(data_of(content) if content else b"")
    else:
        os.mknod(target, attr.kind | 0o600, attr.rdev)


class Directory(Protocol):
    """What `dump` needs; paths are relative, b"" is the root."""

    def lstat(self, path: bytes) -> Stat | os.stat_result:
        """As the call of that name."""

    def names(self, path: bytes) -> list[bytes]:
        """As the call of that name."""

    def readlink(self, path: bytes) -> bytes:
        """As the call of that name."""

    def read(self, path: bytes) -> bytes:
        """As the call of that name."""

    def xattrs(self, path: bytes) -> dict[bytes, bytes]:
        """As the call of that name."""


class EngineDir:
    """Path operations over an engine, as the kernel and the FUSE layer would make them."""

    def __init__(self, engine: Engine, caller: Caller, journal: Journal | None = None) -> None:
        self.engine = engine
        self.caller = caller
        self.journal = journal

    def reply(self) -> None:
        """What the FUSE layer does after each reply."""
        if self.journal:
            self.journal.after_reply()

    def ino(self, path: bytes) -> int:
        """The inode at a path."""
        ino = ROOT
        for name in path.split(b"/") if path else ():
            ino = self.engine.lookup(ino, name).ino
        return ino

    def at(self, path: bytes) -> tuple[int, bytes]:
        """(parent inode, name)."""
        parent, _, name = path.rpartition(b"/")
        return self.ino(parent), name

    def lstat(self, path: bytes) -> Stat:
        """By lookup; getattr must agree."""
        ino = self.ino(path)
        found = self.engine.getattr(ino)
        if path:
            assert self.engine.lookup(*self.at(path)) == found
        return found

    def names(self, path: bytes) -> list[bytes]:
        """In two halves, so that cookies are used."""
        ino = self.ino(path)
        rows = list(self.engine.readdir(ino))
        half = len(rows) // 2
        rest = list(self.engine.readdir(ino, rows[half - 1].cookie)) if half else rows
        assert rows[half:] == rest
        return [row.name for row in rows]

    def readlink(self, path: bytes) -> bytes:
        """As the call of that name."""
        return self.engine.readlink(self.ino(path))

    def read(self, path: bytes) -> bytes:
        """As the call of that name."""
        return self.read_ino(self.ino(path))

    def read_ino(self, ino: int) -> bytes:
        """A file's data, wherever it is."""
        fd = self.engine.data_fd(ino)
        if fd is not None:
            return os.pread(fd, os.fstat(fd).st_size, 0)
        content = self.engine.lower_content(ino)
        return data_of(content) if content else b""

    def xattrs(self, path: bytes) -> dict[bytes, bytes]:
        """As the call of that name."""
        ino = self.ino(path)
        names = self.engine.listxattr(ino)
        return {name: self.engine.getxattr(ino, name, self.caller) for name in names}

    def mkdir(self, path: bytes, mode: int) -> None:
        """As the call of that name."""
        self.engine.mkdir(*self.at(path), mode, self.caller)

    def mknod(self, path: bytes, mode: int, rdev: int = 0) -> None:
        """As the call of that name."""
        self.engine.mknod(*self.at(path), mode, rdev, self.caller)

    def symlink(self, path: bytes, target: bytes) -> None:
        """As the call of that name."""
        self.engine.symlink(*self.at(path), target, self.caller)

    def create(self, path: bytes, mode: int) -> None:
        """As the call of that name."""
        self.engine.create(*self.at(path), mode, os.O_EXCL, self.caller)

    def link(self, old: bytes, new: bytes) -> None:
        """As the call of that name."""
        self.engine.link(self.ino(old), *self.at(new), self.caller)

    def unlink(self, path: bytes) -> None:
        """As the call of that name."""
        self.engine.unlink(*self.at(path), self.caller)

    def rmdir(self, path: bytes) -> None:
        """As the call of that name."""
        self.engine.rmdir(*self.at(path), self.caller)

    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        """As the call of that name."""
        self.engine.rename(*self.at(old), *self.at(new), flags, self.caller)

    def chmod(self, path: bytes, mode: int) -> None:
        """As the call of that name."""
        self.engine.setattr(self.ino(path), SetAttr(mode=mode), self.caller)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """As the call of that name."""
        self.engine.setattr(self.ino(path), SetAttr(uid=uid, gid=gid), self.caller)

    def utime(self, path: bytes, mtime_ns: int) -> None:
        """As the call of that name."""
        times = SetAttr(atime_ns=mtime_ns, mtime_ns=mtime_ns)
        self.engine.setattr(self.ino(path), times, self.caller)

    def setxattr(self, path: bytes, name: bytes, value: bytes) -> None:
        """As the call of that name."""
        self.engine.setxattr(self.ino(path), name, value, self.caller)

    def removexattr(self, path: bytes, name: bytes) -> None:
        """As the call of that name."""
        self.engine.removexattr(self.ino(path), name, self.caller)

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        """Into an existing file."""
        ino = self.ino(path)
        self.lift(ino)
        fd = self.engine.data_fd(ino)
        assert fd is not None
        os.pwrite(fd, data, offset)

    def truncate(self, path: bytes, size: int) -> None:
        """As the call of that name."""
        ino = self.ino(path)
        if size:
            self.lift(ino)
        self.engine.setattr(ino, SetAttr(size=size), self.caller)

    def lift(self, ino: int) -> None:
        """Copy a file's data up, in two pieces."""
        job = self.engine.copy_up(ino)
        if job is None:
            return
        data = data_of(job.content)
        half = len(data) // 2
        job.write(half, data[half:])
        job.write(0, data[:half])
        job.sync()
        job.commit()


class PlainDir:
    """The same on a real directory."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self.fd = os.open(root, os.O_PATH | os.O_DIRECTORY)

    def close(self) -> None:
        """As the call of that name."""
        os.close(self.fd)

    def path(self, path: bytes) -> bytes:
        """The real path."""
        return self.root + b"/" + path if path else self.root

    def lstat(self, path: bytes) -> os.stat_result:
        """As the call of that name."""
        return os.stat(path or b".", dir_fd=self.fd, follow_symlinks=False)

    def names(self, path: bytes) -> list[bytes]:
        """As the call of that name."""
        with os.scandir(self.path(path)) as rows:
            return [row.name for row in rows]

    def readlink(self, path: bytes) -> bytes:
        """As the call of that name."""
        return os.readlink(path, dir_fd=self.fd)

    def read(self, path: bytes) -> bytes:
        """As the call of that name."""
        fd = os.open(self.path(path), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)

    def xattrs(self, path: bytes) -> dict[bytes, bytes]:
        """As the call of that name."""
        full = self.path(path)
        names = os.listxattr(full, follow_symlinks=False)
        return {
            os.fsencode(name): os.getxattr(full, name, follow_symlinks=False)
            for name in names
            if not name.startswith("security.selinux")
        }

    def mkdir(self, path: bytes, mode: int) -> None:
        """As the call of that name."""
        os.mkdir(path, mode, dir_fd=self.fd)

    def mknod(self, path: bytes, mode: int, rdev: int = 0) -> None:
        """As the call of that name."""
        os.mknod(self.path(path), mode, rdev)

    def symlink(self, path: bytes, target: bytes) -> None:
        """As the call of that name."""
        os.symlink(target, path, dir_fd=self.fd)

    def create(self, path: bytes, mode: int) -> None:
        """As the call of that name."""
        os.close(os.open(self.path(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

    def link(self, old: bytes, new: bytes) -> None:
        """As the call of that name."""
        os.link(self.path(old), self.path(new), follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        """As the call of that name."""
        os.unlink(path, dir_fd=self.fd)

    def rmdir(self, path: bytes) -> None:
        """As the call of that name."""
        os.rmdir(path, dir_fd=self.fd)

    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        """As the call of that name."""
        renameat2(self.fd, old, self.fd, new, flags)

    def chmod(self, path: bytes, mode: int) -> None:
        """As the call of that name."""
        self.nofollow(path)
        os.chmod(path or b".", mode, dir_fd=self.fd)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """As the call of that name."""
        os.chown(self.path(path), uid, gid, follow_symlinks=False)

    def utime(self, path: bytes, mtime_ns: int) -> None:
        """As the call of that name."""
        os.utime(self.path(path), ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def setxattr(self, path: bytes, name: bytes, value: bytes) -> None:
        """As the call of that name."""
        os.setxattr(self.path(path), name, value, follow_symlinks=False)

    def removexattr(self, path: bytes, name: bytes) -> None:
        """As the call of that name."""
        os.removexattr(self.path(path), name, follow_symlinks=False)

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        """As the call of that name."""
        fd = os.open(self.path(path), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pwrite(fd, data, offset)
        finally:
            os.close(fd)

    def truncate(self, path: bytes, size: int) -> None:
        """As the call of that name."""
        self.nofollow(path)
        os.truncate(self.path(path), size)

    def nofollow(self, path: bytes) -> None:
        """The engine is never asked to follow a symlink."""
        assert not stat.S_ISLNK(self.lstat(path).st_mode)


def walk(directory: Directory) -> Iterator[tuple[bytes, Stat]]:
    """All paths, sorted, with a `Stat` each."""
    todo = [b""]
    while todo:
        path = todo.pop()
        st = _as_stat(directory.lstat(path))
        yield path, st
        if stat.S_ISDIR(st.mode):
            prefix = path + b"/" if path else b""
            todo += [prefix + name for name in sorted(directory.names(path), reverse=True)]


def _as_stat(st: Stat | os.stat_result) -> Stat:
    if isinstance(st, Stat):
        return st
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


def dump(
    directory: Directory,
    owners: bool = True,
    nlinks: bool = True,
    keep_xattr: Callable[[bytes], bool] = lambda _: True,
) -> list[str]:
    """A line for each path, without what differs between equal trees (inode numbers, new times).

    A directory's links are counted here for a plain directory, and must be right in an engine's.
    """
    rows = list(walk(directory))
    first: dict[int, bytes] = {}
    subdirs: dict[bytes, int] = {}
    for path, st in rows:
        first.setdefault(st.ino, path)
        if path and stat.S_ISDIR(st.mode):
            above = path.rpartition(b"/")[0]
            subdirs[above] = subdirs.get(above, 0) + 1
    lines = []
    for path, st in rows:
        kind = stat.S_IFMT(st.mode)
        if kind == stat.S_IFDIR and isinstance(directory, EngineDir):
            assert st.nlink == 2 + subdirs.get(path, 0), (path, st.nlink, subdirs.get(path))
        nlink = st.nlink if nlinks and kind != stat.S_IFDIR else "-"
        target = directory.readlink(path) if kind == stat.S_IFLNK else b""
        data = (
            hashlib.sha256(directory.read(path)).hexdigest()[:12] if kind == stat.S_IFREG else "-"
        )
        xattrs = {k: v for k, v in directory.xattrs(path).items() if keep_xattr(k)}
        lines.append(
            f"{path!r} {st.mode:o} {nlink} {(st.uid, st.gid) if owners else ''} {st.rdev} "
            f"{st.size if kind in (stat.S_IFREG, stat.S_IFLNK) else '-'} "
            f"{st.mtime_ns if st.mtime_ns < _NOW else 'now'} {target!r} {data} "
            f"{sorted(xattrs.items())} ={first[st.ino]!r}"
        )
    return lines
