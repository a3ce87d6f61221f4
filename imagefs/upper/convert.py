"""Rewrites an upper in the other dialect. Never changes the one it reads, which must not be in use.

Writing overlayfs's dialect needs root. Inode numbers of born objects change: no mount survives it.
"""

from __future__ import annotations

import os
import stat

from imagefs.upper.dialect import Dialect, Marks, Meta, make_whiteout
from imagefs.upper.types import Stat
from imagefs.upper.upperdir import UpperDir, open_dir, proc_path

_BLOCK = 1 << 20


def convert(source: UpperDir, reader: Dialect, target: UpperDir, writer: Dialect) -> None:
    """Write into the empty `target` what `source` holds. Orphans are left behind.

    Not atomic: after a failure or a crash throw `target` away and begin anew.
    """
    _Converter(reader, target, writer).directory(source.root, target.root)
    for name in target.listing("made"):
        os.unlink(name, dir_fd=target.made)


class _Converter:
    def __init__(self, reader: Dialect, target: UpperDir, writer: Dialect) -> None:
        self.reader = reader
        self.made = target.made
        self.writer = writer
        self.linked: set[int] = set()

    def directory(self, source: int, target: int) -> None:
        """Everything in a directory, then the directory's own attributes."""
        with os.scandir(proc_path(source, b".")) as rows:
            names = sorted(row.name for row in rows)
        for name in names:
            self._object(source, target, name)
        st = self.reader.stat(source, b".")
        self.writer.chown(target, b".", st.uid, st.gid)
        self.writer.chmod(target, b".", stat.S_IMODE(st.mode))
        self._describe(source, b".", target, b".", st)

    def _object(self, source: int, target: int, name: bytes) -> None:
        st = self.reader.stat(source, name)
        if self.reader.marks(source, name, st).whiteout:
            make_whiteout(target, name)
        elif stat.S_ISDIR(st.mode):
            self.writer.make(target, name, Meta(st.mode, st.uid, st.gid))
            below, into = open_dir(name, source), open_dir(name, target)
            try:
                self.directory(below, into)
            finally:
                os.close(below)
                os.close(into)
        elif st.nlink == 1:
            self._file(source, name, target, name, st)
        else:  # one link stays in made/ until the end
            first = b"%d" % st.ino
            if st.ino not in self.linked:
                self._file(source, name, self.made, first, st)
                self.linked.add(st.ino)
            os.link(first, name, src_dir_fd=self.made, dst_dir_fd=target, follow_symlinks=False)

    def _file(self, source: int, name: bytes, target: int, new: bytes, st: Stat) -> None:
        link = self.reader.readlink(source, name) if stat.S_ISLNK(st.mode) else b""
        self.writer.make(target, new, Meta(st.mode, st.uid, st.gid, st.rdev, link))
        if stat.S_ISREG(st.mode):
            _copy_data(source, name, target, new)
        self._describe(source, name, target, new, st)

    def _describe(self, source: int, name: bytes, target: int, new: bytes, st: Stat) -> None:
        old_path, new_path = proc_path(source, name), proc_path(target, new)
        for text in os.listxattr(old_path, follow_symlinks=False):
            shown = self.reader.shown_xattr(os.fsencode(text))
            if shown is not None:
                value = os.getxattr(old_path, text, follow_symlinks=False)
                stored = self.writer.stored_xattr(shown)
                os.setxattr(new_path, stored, value, follow_symlinks=False)
        for key, mark in _values(self.reader.marks(source, name, st)).items():
            self.writer.mark(target, new, key, mark)
        os.utime(new, ns=(st.atime_ns, st.mtime_ns), dir_fd=target, follow_symlinks=False)


def _values(marks: Marks) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if marks.opaque:
        found["opaque"] = b"y"
    if marks.metacopy:
        found["metacopy"] = b""
    if marks.origin:
        found["origin"] = b""  # overlayfs's way to say "copied up, from I can't say where"
    if marks.redirect:
        found["redirect"] = marks.redirect
    if marks.ino:
        found["ino"] = b"%d" % marks.ino
    if marks.filling is not None:
        found["filling"] = b"%d" % marks.filling
    return found


def _copy_data(source: int, name: bytes, target: int, new: bytes) -> None:
    """Copy a file's bytes; what is zero becomes a hole."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    old_fd = os.open(name, os.O_RDONLY | flags, dir_fd=source)
    new_fd = os.open(new, os.O_WRONLY | flags, dir_fd=target)
    try:
        offset = 0
        while block := os.pread(old_fd, _BLOCK, offset):
            if block.count(0) < len(block):
                view = memoryview(block)
                while view:
                    view = view[os.pwrite(new_fd, view, offset + len(block) - len(view)) :]
            offset += len(block)
        os.ftruncate(new_fd, offset)
    finally:
        os.close(old_fd)
        os.close(new_fd)
