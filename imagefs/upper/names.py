"""The operations on names: make, link and remove (rename: `moves`). Each shows in one atomic step.

What a step needs is prepared in `made/` or `orphans/` before it; what it leaves over is deleted
after it, or by the next start. An intent in the journal lets a new server see whether the step
happened.
"""

from __future__ import annotations

import errno
import os
import stat

from imagefs.system.renames import EXCHANGE, NOREPLACE, renameat2
from imagefs.upper.backing import Backing, Place
from imagefs.upper.copyup import Lifter
from imagefs.upper.dialect import WHITEOUT_RDEV, Meta
from imagefs.upper.journal import Journal, Note
from imagefs.upper.types import BORN, Caller
from imagefs.upper.view import WHITEOUT as HIDDEN
from imagefs.upper.view import Node

NAME_MAX = 255
Args = tuple[int | bytes, ...]


def fail(code: int) -> OSError:
    """The plain error that every operation raises."""
    return OSError(code, os.strerror(code))


class Names:
    """Changes to the merged tree's names, and the journal of them."""

    def __init__(self, backing: Backing, lifter: Lifter, journal: Journal | None) -> None:
        self.backing = backing
        self.lifter = lifter
        self.view = backing.view
        self.dialect = backing.dialect
        self.journal = journal

    # -- the journal

    def redo(self, caller: Caller, operation: str, args: Args) -> Note | None:
        """What this very request noted before its server died."""
        return self.journal.redo(caller.pid, operation, args) if self.journal else None

    def intend(self, caller: Caller, operation: str, args: Args, note: Note) -> None:
        """Note what is about to happen; the slot is freed after the reply."""
        if self.journal:
            slot = self.journal.intend(caller.pid, operation, args, note)
            if slot is not None:
                self.journal.answered.append(slot)

    # -- making

    def make(
        self, operation: str, args: Args, parent: int, name: bytes, meta: Meta, caller: Caller
    ) -> int:
        """mkdir, mknod, symlink and create: an object with an owner, at a free name."""
        note = self.redo(caller, operation, args)
        if note is not None:
            made, place = int(note["made"]), (self.backing.upper.made, bytes(note["name"]))
            if self.view.entry(parent, name) == BORN + made:
                self.backing.drop(place)  # the whiteout it was exchanged against
                return BORN + made
            if self.backing.stat_at(place) is None:  # had failed, and was about to say so
                note = None
        if note is None:
            if stat.S_ISCHR(meta.mode) and meta.rdev == WHITEOUT_RDEV:
                raise fail(errno.EPERM)  # as overlayfs: it would be a whiteout
            self._check_free(parent, name)
            place = self._prepare(parent, name, meta, caller)
            made = self.dialect.stat(*place).ino
            self.intend(caller, operation, args, {"made": made, "name": place[1]})
        node = Node(BORN + made, stat.S_IFMT(meta.mode), 0)
        try:
            self._settle(place, parent, name, node.kind == stat.S_IFDIR)
        except OSError:
            self.backing.drop(place)
            raise
        self.view.nodes[node.ino] = node
        self.view.name(node, parent, name)
        return node.ino

    def _check_free(self, parent: int, name: bytes) -> None:
        check_name(name)
        if not self.view.is_dir(parent):
            raise fail(errno.ENOTDIR)
        if self.view.entry(parent, name):
            raise fail(errno.EEXIST)
        if self.lifter.up(parent).orphan:
            raise fail(errno.ENOENT)

    def _prepare(self, parent: int, name: bytes, meta: Meta, caller: Caller) -> Place:
        node = self.view.nodes[parent]
        above = self.backing.stat(node)
        is_dir = stat.S_ISDIR(meta.mode)
        if above.mode & stat.S_ISGID:
            meta = meta._replace(gid=above.gid)
            if is_dir:
                meta = meta._replace(mode=meta.mode | stat.S_ISGID)
        acl = None
        if not stat.S_ISLNK(meta.mode):
            acl = self._default_acl(node)
            if acl is None:
                meta = meta._replace(mode=meta.mode & ~caller.umask)
        place = self.backing.make(meta, acl)
        if is_dir and self.view.lower_entry(parent, name):
            self.dialect.mark(*place, "opaque", b"y")
        return place

    def _default_acl(self, node: Node) -> bytes | None:
        if not self.dialect.acls:
            return None
        stored = self.dialect.stored_xattr(b"system.posix_acl_default")
        try:
            return os.getxattr(self.backing.path(node), stored, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
                return None
            raise

    def _settle(self, place: Place, parent: int, name: bytes, is_dir: bool) -> None:
        """Put a prepared object at a name that is free: empty, or a whiteout."""
        here = self.backing.dir_fd(parent), name
        if self.view.nodes[parent].entries.get(name) is None:
            renameat2(*place, *here, NOREPLACE)
        elif is_dir:
            renameat2(*place, *here, EXCHANGE)
            self.backing.drop(place)
        else:
            renameat2(*place, *here)

    def link(self, ino: int, parent: int, name: bytes, caller: Caller) -> None:
        """A further name for a file."""
        args: Args = (ino, parent, name)
        if self.redo(caller, "link", args) is not None and self.view.entry(parent, name) == ino:
            return
        self._check_free(parent, name)
        node = self.lifter.up(ino)
        if node.orphan:
            raise fail(errno.ENOENT)
        if node.kind == stat.S_IFDIR:
            raise fail(errno.EPERM)
        self.lifter.redirect(node)
        self.intend(caller, "link", args, {})
        place = self.backing.fresh()
        source = self.backing.place(node)
        os.link(
            source[1], place[1], src_dir_fd=source[0], dst_dir_fd=place[0], follow_symlinks=False
        )
        try:
            self._settle(place, parent, name, False)
        except OSError:
            self.backing.drop(place)
            raise
        self.view.name(node, parent, name)

    # -- removing

    def unlink(self, parent: int, name: bytes, caller: Caller) -> None:
        """Take a name from anything but a directory."""
        self._remove("unlink", parent, name, caller)

    def rmdir(self, parent: int, name: bytes, caller: Caller) -> None:
        """Remove an empty directory."""
        self._remove("rmdir", parent, name, caller)

    def _remove(self, operation: str, parent: int, name: bytes, caller: Caller) -> None:
        note = self.redo(caller, operation, (parent, name))
        ino = self.view.entry(parent, name)
        if note is not None and ino != note["ino"]:
            return
        if not ino:
            raise fail(errno.ENOENT)
        is_dir = self.view.is_dir(ino)
        if operation == "unlink" and is_dir:
            raise fail(errno.EISDIR)
        if operation == "rmdir" and not is_dir:
            raise fail(errno.ENOTDIR)
        if is_dir and not self.view.empty(ino):
            raise fail(errno.ENOTEMPTY)
        self.lifter.up(parent)
        self.intend(caller, operation, (parent, name), {"ino": ino})
        self._detach(parent, name, ino)

    def _detach(self, parent: int, name: bytes, ino: int) -> None:
        covers = bool(self.view.lower_entry(parent, name))
        here = self.backing.dir_fd(parent), name
        node = self.view.nodes.get(ino)
        if node is None:
            self.backing.whiteout(here)
            self.view.put(parent, name, HIDDEN)
            return
        last = len(node.names) == 1
        if last and node.lower != ino:
            self.lifter.redirect(node)
        aside = self.backing.orphan_place(ino) if last else self.backing.fresh()
        if covers:
            self.backing.cover(here, aside)
        elif last:
            renameat2(*here, *aside, NOREPLACE)
        else:
            os.unlink(name, dir_fd=here[0])
        self.view.put(parent, name, HIDDEN if covers else None)
        del node.names[parent, name]
        if last:
            self.orphan(node)
        elif covers:
            self.backing.drop(aside)

    def orphan(self, node: Node) -> None:
        """The node's last name is gone, and it lies in `orphans/`."""
        node.orphan = True
        if node.kind == stat.S_IFDIR:
            node.entries.clear()
            node.lower = node.subdirs = 0


def check_name(name: bytes) -> None:
    """ENAMETOOLONG for what no backing directory can hold."""
    if len(name) > NAME_MAX:
        raise fail(errno.ENAMETOOLONG)
