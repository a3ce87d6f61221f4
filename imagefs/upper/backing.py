"""Where nodes lie on disk: cached descriptors, objects prepared in `made/`. Decides no semantics.

Deep trees exceed PATH_MAX, so every object is reached as (descriptor of its directory, name).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imagefs.system.renames import EXCHANGE, NOREPLACE, renameat2
from imagefs.tree import ROOT
from imagefs.upper.dialect import Dialect, Meta, make_whiteout
from imagefs.upper.journal import Journal
from imagefs.upper.types import Stat
from imagefs.upper.upperdir import UpperDir, open_dir, proc_path, remove_tree
from imagefs.upper.view import Node, View

_DIR_FDS = 256
_DATA_FDS = 256
_PATH = 3000  # bytes of a relative path opened in one call

Place = tuple[int, bytes]


class Backing:
    """The files of one upper. Descriptors it returns are valid until its next call but one."""

    def __init__(
        self, upper: UpperDir, dialect: Dialect, view: View, journal: Journal | None
    ) -> None:
        self.upper = upper
        self.dialect = dialect
        self.view = view
        self.journal = journal
        self.restamped: set[int] = set()  # directories whose ctime moved by copy-up alone
        self._dirs: OrderedDict[int, int] = OrderedDict()
        self._data: OrderedDict[int, int] = OrderedDict()
        self._serial = 0
        self._token = os.urandom(8).hex().encode()  # pids come again

    # -- where

    def dir_fd(self, ino: int) -> int:
        """A descriptor of an upper directory."""
        if ino == ROOT:
            return self.upper.root
        fd = self._dirs.get(ino)
        if fd is None:
            fd = self._dirs[ino] = self._open_dir(ino)
            if len(self._dirs) > _DIR_FDS:
                os.close(self._dirs.popitem(last=False)[1])
        else:
            self._dirs.move_to_end(ino)
        return fd

    def _open_dir(self, ino: int) -> int:
        parts: list[bytes] = []
        start = self.upper.root
        while ino != ROOT:
            if ino in self._dirs:
                start = self._dirs[ino]
                break
            node = self.view.nodes[ino]
            if node.orphan:
                start, parts = self.upper.orphans, [*parts, b"%d" % ino]
                break
            ino, name = next(iter(node.names))
            parts.append(name)
        parts.reverse()
        fd = os.dup(start)
        while parts:
            taken, length = [parts.pop(0)], 0
            while parts and (length := length + len(parts[0]) + 1) < _PATH:
                taken.append(parts.pop(0))
            try:
                below = open_dir(b"/".join(taken), fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def place(self, node: Node) -> Place:
        """One of the places where the node lies."""
        if node.orphan:
            return self.upper.orphans, b"%d" % node.ino
        if node.ino == ROOT:
            return self.upper.root, b"."
        parent, name = next(iter(node.names))
        return self.dir_fd(parent), name

    def path(self, node: Node) -> bytes:
        """For calls that take no descriptor."""
        return proc_path(*self.place(node))

    def stat(self, node: Node) -> Stat:
        """As the call of that name."""
        return self.dialect.stat(*self.place(node))

    def stat_at(self, place: Place) -> Stat | None:
        """None: nothing there."""
        try:
            return self.dialect.stat(*place)
        except FileNotFoundError:
            return None

    def data_fd(self, node: Node) -> int:
        """A cached O_RDWR descriptor of a regular file."""
        fd = self._data.get(node.ino)
        if fd is None:
            dir_fd, name = self.place(node)
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
            self._data[node.ino] = fd
            if len(self._data) > _DATA_FDS:
                os.close(self._data.popitem(last=False)[1])
        else:
            self._data.move_to_end(node.ino)
        return fd

    def forget(self, ino: int) -> None:
        """Close what is open of an object that is gone."""
        for cache in (self._dirs, self._data):
            fd = cache.pop(ino, None)
            if fd is not None:
                os.close(fd)

    def close(self) -> None:
        """As the call of that name."""
        for ino in {*self._dirs, *self._data}:
            self.forget(ino)

    # -- marks and times

    def mark(self, node: Node, key: str, value: bytes | None) -> None:
        """As the call of that name."""
        self.dialect.mark(*self.place(node), key, value)

    def set_times(self, node: Node, atime_ns: int, mtime_ns: int) -> None:
        """As the call of that name."""
        dir_fd, name = self.place(node)
        os.utime(name, ns=(atime_ns, mtime_ns), dir_fd=dir_fd, follow_symlinks=False)

    @contextmanager
    def times_kept(self, parent: int) -> Iterator[None]:
        """Do something in a directory that its users must not see in its times."""
        node = self.view.nodes[parent]
        self.restamped.add(parent)
        before = self.stat(node)
        note: dict[str, int | bytes] = {"atime": before.atime_ns, "mtime": before.mtime_ns}
        slot = self.journal.intend(-1, "times", (parent,), note) if self.journal else None
        try:
            yield
        finally:
            with suppress(OSError):  # as overlayfs: not worth failing for
                self.set_times(node, before.atime_ns, before.mtime_ns)
            if self.journal:
                self.journal.clear(slot)

    # -- objects not yet in place

    def fresh(self) -> Place:
        """An unused name in `made/`."""
        self._serial += 1
        return self.upper.made, b"%s-%d" % (self._token, self._serial)

    def make(self, meta: Meta, default_acl: bytes | None = None) -> Place:
        """An object in `made/`; with a default ACL, as if made in a directory that has it."""
        place = self.fresh()
        if default_acl is None:
            self.dialect.make(*place, meta)
            return place
        dir_fd, name = self.fresh()
        os.mkdir(name, 0o700, dir_fd=dir_fd)
        try:
            path = proc_path(dir_fd, name)
            acl = self.dialect.stored_xattr(b"system.posix_acl_default")
            os.setxattr(path, acl, default_acl)
            inside = open_dir(name, dir_fd)
            try:
                self.dialect.make(inside, b"o", meta, inherit=True)
                renameat2(inside, b"o", *place)
            finally:
                os.close(inside)
        finally:
            remove_tree(dir_fd, name)
        return place

    def drop(self, place: Place) -> bool:
        """Delete what is of no use any more. False: it could not be; the next start will."""
        try:
            remove_tree(*place)
        except OSError:
            return False
        return True

    def orphan_place(self, ino: int) -> Place:
        """The place for an object whose last name goes; made free."""
        place = self.upper.orphans, b"%d" % ino
        remove_tree(*place)
        return place

    def whiteout(self, place: Place) -> None:
        """Hide what the lower has at a place where the upper has nothing, in one step."""
        aside = self.fresh()
        make_whiteout(*aside)
        renameat2(*aside, *place, NOREPLACE)

    def cover(self, place: Place, aside: Place) -> None:
        """Move an object to `aside` and leave a whiteout in its place, in one step."""
        make_whiteout(*aside)
        renameat2(*place, *aside, EXCHANGE)
