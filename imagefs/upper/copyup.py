"""Copy-up: bringing lower objects into the upper. Never changes what users see, except on `empty`.

Metadata comes up first: a file becomes a metacopy (owner, mode, times and xattrs in the upper, data
lower, size by a hole). Data is then filled in behind the metacopy mark, whose removal is the one
atomic step. So hard links need nothing special: all lower names of a file are links of one upper
inode from the start; what a crash left out is linked by `complete`.
"""

from __future__ import annotations

import errno
import os
import stat

from imagefs.system.renames import NOREPLACE, renameat2
from imagefs.tree import ROOT, Content
from imagefs.upper.backing import Backing, Place
from imagefs.upper.dialect import Meta
from imagefs.upper.upperdir import proc_path
from imagefs.upper.view import Node

_MUST_COPY = (b"system.posix_acl_", b"security.")  # as overlayfs: others may be unknown here


class Lifter:
    """Makes nodes of lower objects."""

    def __init__(self, backing: Backing) -> None:
        self.backing = backing
        self.view = backing.view
        self.tree = backing.view.tree
        self.dialect = backing.dialect

    def up(self, ino: int, empty: bool = False) -> Node:
        """The node of an object, copied up with its parents if need be. `empty`: a regular file
        comes up without its data. What has no name any more becomes an orphan."""
        node = self.view.nodes.get(ino)
        if node is not None:
            return node
        kind = self.tree.attr(ino).kind
        names = self.view.lower_names(ino)
        for parent, _ in names:
            self.up(parent)
        node = Node(ino, kind, ino if names or kind != stat.S_IFDIR else 0)
        place = self._copy(node, empty)
        try:
            self._put_in_place(node, place, names)
        finally:
            self.backing.drop(place)
        return node

    def _copy(self, node: Node, empty: bool) -> Place:
        attr = self.tree.attr(node.ino)
        target = self.tree.readlink(node.ino) if node.kind == stat.S_IFLNK else b""
        meta = Meta(attr.kind | attr.mode, attr.uid, attr.gid, attr.rdev, target)
        place = self.backing.make(meta)
        try:
            self._copy_xattrs(node.ino, place)
            if node.kind != stat.S_IFDIR:
                self.dialect.mark(*place, "ino", b"%d" % node.ino)
            if node.kind == stat.S_IFREG and attr.size and not empty:
                os.truncate(proc_path(*place), attr.size)
                self.dialect.mark(*place, "metacopy", b"")
                node.metacopy = True
            if not empty:
                times = (attr.mtime_ns, attr.mtime_ns)
                os.utime(place[1], ns=times, dir_fd=place[0], follow_symlinks=False)
        except BaseException:
            self.backing.drop(place)
            raise
        return place

    def _copy_xattrs(self, ino: int, place: Place) -> None:
        for name, value in self.tree.xattrs(ino).items():
            stored = self.dialect.stored_xattr(name)
            try:
                os.setxattr(proc_path(*place), stored, value, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP or name.startswith(_MUST_COPY):
                    raise

    def _put_in_place(self, node: Node, place: Place, names: list[tuple[int, bytes]]) -> None:
        if not names:
            renameat2(*place, *self.backing.orphan_place(node.ino), NOREPLACE)
            node.orphan = True
        elif len(names) == 1:
            ((parent, name),) = names
            with self.backing.times_kept(parent):
                renameat2(*place, self.backing.dir_fd(parent), name, NOREPLACE)
        else:
            self._link_all(place, names)
        self.view.nodes[node.ino] = node
        for parent, name in names:
            self.view.name(node, parent, name)
        if node.kind == stat.S_IFDIR:
            self.view.count_subdirs(node)
            self.backing.restamped.add(node.ino)

    def _link_all(self, place: Place, names: list[tuple[int, bytes]]) -> None:
        done: list[tuple[int, bytes]] = []
        try:
            for parent, name in names:
                self._link(place, parent, name)
                done.append((parent, name))
        except OSError:
            for parent, name in done:
                with self.backing.times_kept(parent):
                    os.unlink(name, dir_fd=self.backing.dir_fd(parent))
            raise

    def _link(self, place: Place, parent: int, name: bytes) -> None:
        with self.backing.times_kept(parent):
            os.link(
                place[1],
                name,
                src_dir_fd=place[0],
                dst_dir_fd=self.backing.dir_fd(parent),
                follow_symlinks=False,
            )

    def root_up(self) -> None:
        """Give the root of a fresh upper the lower root's attributes. Idempotent."""
        node = self.view.nodes[ROOT]
        place = self.backing.place(node)
        if self.dialect.marks(*place, self.dialect.stat(*place)).ino:
            return
        if not node.entries:
            attr = self.tree.attr(ROOT)
            self.dialect.chown(*place, attr.uid, attr.gid)
            self.dialect.chmod(*place, attr.mode)
            self._copy_xattrs(ROOT, place)
            self.backing.set_times(node, attr.mtime_ns, attr.mtime_ns)
        self.dialect.mark(*place, "ino", b"%d" % ROOT)

    def complete(self) -> None:
        """Link what a crash left out of the names of files that were being copied up."""
        for node in list(self.view.nodes.values()):
            if node.orphan or node.kind == stat.S_IFDIR or node.lower != node.ino:
                continue
            for parent, name in self.view.lower_names(node.ino):
                self.up(parent)
                self._link(self.backing.place(node), parent, name)
                self.view.name(node, parent, name)

    def redirect(self, node: Node) -> None:
        """Before a move: note where the lower part of a directory or metacopy lies. EXDEV where the
        path is too long to be noted, so that mv copies."""
        if not node.lower or not (node.metacopy or node.kind == stat.S_IFDIR):
            return
        try:
            self.backing.mark(node, "redirect", b"/" + self.tree.path(node.lower))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.ENAMETOOLONG):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from error
            raise

    def opaque(self, node: Node) -> None:
        """Cut a directory off from what the lower has at its place. Its number stays."""
        if node.ino == node.lower:
            self.backing.mark(node, "ino", b"%d" % node.ino)
        self.backing.mark(node, "opaque", b"y")
        node.lower = 0

    # -- data

    def begin_fill(self, node: Node) -> None:
        """Data will be written behind the metacopy mark: keep the mtime."""
        if node.filling is None:
            mtime = self.backing.stat(node).mtime_ns
            self.backing.mark(node, "filling", b"%d" % mtime)
            node.filling = mtime

    def end_fill(self, node: Node, committed: bool) -> None:
        """Restore the mtime; with `committed` the data is the upper's from here on."""
        if node.filling is not None:
            if not committed:  # give the space back
                fd = self.backing.data_fd(node)
                size = os.fstat(fd).st_size
                os.ftruncate(fd, 0)
                os.ftruncate(fd, size)
            self.backing.set_times(node, self.backing.stat(node).atime_ns, node.filling)
        if committed:
            self.backing.mark(node, "metacopy", None)
            node.metacopy = False
        if node.filling is not None:
            node.filling = None
            self.backing.mark(node, "filling", None)

    def truncate(self, ino: int) -> None:
        """Make a file empty, its data in the upper."""
        fresh = ino not in self.view.nodes
        node = self.up(ino, empty=True)
        if fresh:
            return
        os.ftruncate(self.backing.data_fd(node), 0)
        if node.metacopy:  # done from here on: see Loader._repair
            node.metacopy = False
            node.filling = None
            self.backing.mark(node, "metacopy", None)
            self.backing.mark(node, "filling", None)


class FileCopyUp:
    """See `types.CopyUp`."""

    def __init__(self, lifter: Lifter, node: Node, content: Content) -> None:
        lifter.begin_fill(node)
        self.content = content
        self._lifter = lifter
        self._node = node
        self._fd = os.dup(lifter.backing.data_fd(node))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put lower bytes in place, unless the data is the upper's already."""
        rest = memoryview(data)
        while rest and self._filling():
            done = os.pwrite(self._fd, rest, offset)
            rest, offset = rest[done:], offset + done

    def cut(self, size: int) -> None:
        """Before `commit`, so that no crash leaves zeros where data was."""
        if self._filling():
            os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """fdatasync; may run in a worker thread."""
        os.fdatasync(self._fd)

    def commit(self) -> None:
        """From now on the data is the upper's."""
        if self._filling():
            self._lifter.end_fill(self._node, committed=True)
        self._close()

    def abort(self) -> None:
        """The data stays lower, unless another copy of this file still runs: that one decides."""
        if self._filling():
            os.ftruncate(self._fd, self.content.size)
        self._close()

    def _filling(self) -> bool:
        return self._fd >= 0 and self._node.metacopy

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
