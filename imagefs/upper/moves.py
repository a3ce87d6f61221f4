"""rename(2) in all its forms, each one atomic step on disk. Never used but by the engine.

What the step needs is prepared before it and shows nothing: both objects are copied up, and marked
so that they mean the same at their new places.
"""

from __future__ import annotations

import errno
import os
import stat

from imagefs.system.renames import EXCHANGE, NOREPLACE, WHITEOUT, renameat2
from imagefs.upper.backing import Place
from imagefs.upper.dialect import gone_at, make_whiteout
from imagefs.upper.names import Args, Names, check_name, fail
from imagefs.upper.types import Caller
from imagefs.upper.view import WHITEOUT as HIDDEN
from imagefs.upper.view import Node

Where = tuple[int, bytes]
"""A name in a directory, by inode number."""


class Moves:
    """Renames in the merged tree."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.backing = names.backing
        self.lifter = names.lifter
        self.view = names.view

    def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
        caller: Caller,
    ) -> None:
        """renameat2(2) with NOREPLACE or EXCHANGE."""
        args: Args = (parent, name, new_parent, new_name, flags)
        note = self.names.redo(caller, "rename", args)
        ino, target = self.view.entry(parent, name), self.view.entry(new_parent, new_name)
        if note is not None and ino != note["from"]:
            return
        self._check_rename(ino, target, parent, new_parent, new_name, flags)
        if ino == target:
            return
        for directory in (parent, new_parent):
            if self.lifter.up(directory).orphan:
                raise fail(errno.ENOENT)
        node = self.lifter.up(ino)
        self._prepare_move(node, new_parent, new_name)
        if flags & EXCHANGE:
            other = self.lifter.up(target)
            self._prepare_move(other, parent, name)
            self.names.intend(caller, "rename", args, {"from": ino})
            self._exchange(node, other, (parent, name), (new_parent, new_name))
        else:
            self.names.intend(caller, "rename", args, {"from": ino})
            self._replace(node, (parent, name), (new_parent, new_name))

    def _check_rename(
        self, ino: int, target: int, parent: int, new_parent: int, new_name: bytes, flags: int
    ) -> None:
        if flags not in (0, NOREPLACE, EXCHANGE):
            raise fail(errno.EINVAL)
        check_name(new_name)
        if not ino or (flags & EXCHANGE and not target):
            raise fail(errno.ENOENT)
        if flags & NOREPLACE and target:
            raise fail(errno.EEXIST)
        if self._above(ino, new_parent):
            raise fail(errno.EINVAL)
        if target and self._above(target, parent):
            raise fail(errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY)
        if not target or target == ino or flags & EXCHANGE:
            return
        if not self.view.is_dir(target):
            if self.view.is_dir(ino):
                raise fail(errno.ENOTDIR)
        elif not self.view.is_dir(ino):
            raise fail(errno.EISDIR)
        elif not self.view.empty(target):
            raise fail(errno.ENOTEMPTY)

    def _above(self, ino: int, directory: int) -> bool:
        if not self.view.is_dir(ino):
            return False
        while directory != ino:
            above = self.view.parent(directory)
            if above == directory:
                return False
            directory = above
        return True

    def _prepare_move(self, node: Node, new_parent: int, new_name: bytes) -> None:
        """Make the object mean the same at its new place."""
        self.lifter.redirect(node)
        pure = node.kind == stat.S_IFDIR and not node.lower
        if pure and self.view.lower_entry(new_parent, new_name):
            self.lifter.opaque(node)

    def _exchange(self, node: Node, other: Node, here: Where, there: Where) -> None:
        old = self.backing.dir_fd(here[0]), here[1]
        new = self.backing.dir_fd(there[0]), there[1]
        renameat2(*old, *new, EXCHANGE)
        del node.names[here]
        del other.names[there]
        self.view.name(node, *there)
        self.view.name(other, *here)

    def _replace(self, node: Node, here: Where, there: Where) -> None:
        leave = bool(self.view.lower_entry(*here))
        found = self.view.nodes[there[0]].entries.get(there[1])  # in the upper
        victim = self.view.nodes.get(found) if found else None
        old = self.backing.dir_fd(here[0]), here[1]
        new = self.backing.dir_fd(there[0]), there[1]
        if found == HIDDEN and node.kind == stat.S_IFDIR:
            renameat2(*old, *new, EXCHANGE)  # and so the whiteout comes here
            if not leave:
                leave = not self.backing.drop(old)
        elif victim is None:
            renameat2(*old, *new, WHITEOUT if leave else 0)
        elif victim.kind == stat.S_IFDIR:
            leave = self._replace_directory(victim, here, there, leave)
        else:
            self._rename_over(old, new, victim, WHITEOUT if leave else 0)
        self.view.put(*here, HIDDEN if leave else None)
        del node.names[here]
        self.view.name(node, *there)
        if victim is not None:
            self._replaced(victim, there)

    def _rename_over(self, old: Place, new: Place, victim: Node, flags: int) -> None:
        """Rename onto an upper file; if it may live on in open descriptors, keep it."""
        if len(victim.names) > 1:
            renameat2(*old, *new, flags)
            return
        if victim.lower != victim.ino:
            self.lifter.redirect(victim)
        aside = self.backing.orphan_place(victim.ino)
        os.link(new[1], aside[1], src_dir_fd=new[0], dst_dir_fd=aside[0], follow_symlinks=False)
        try:
            renameat2(*old, *new, flags)
        except OSError:
            self.backing.drop(aside)
            raise

    def _replace_directory(self, victim: Node, here: Where, there: Where, leave: bool) -> bool:
        """Rename onto an upper directory, which lives on in open descriptors; whether a whiteout
        was left. The exchange is the step that counts: found `here`, the victim is gone."""
        self._clear(victim)
        old = self.backing.dir_fd(here[0]), here[1]
        new = self.backing.dir_fd(there[0]), there[1]
        parents = [self.view.nodes[ino] for ino in (here[0], there[0])]
        times = [self.backing.stat(node) for node in parents]
        aside = self.backing.orphan_place(victim.ino)
        make_whiteout(*aside)
        try:
            self.backing.mark(victim, "gone", gone_at(victim.ino, *here))
            renameat2(*old, *new, EXCHANGE)
        except OSError:
            self.backing.mark(victim, "gone", None)
            self.backing.drop(aside)
            raise
        try:
            renameat2(*old, *aside, EXCHANGE)
        except OSError:
            renameat2(*old, *new, EXCHANGE)
            self.backing.mark(victim, "gone", None)
            for node, before in zip(parents, times, strict=True):
                self.backing.set_times(node, before.atime_ns, before.mtime_ns)
            raise
        return leave or not self.backing.drop(old)

    def _clear(self, node: Node) -> None:
        """Take the whiteouts out of a directory that is empty to its users."""
        if not node.entries:
            return
        self.lifter.opaque(node)
        dir_fd = self.backing.dir_fd(node.ino)
        for name in list(node.entries):
            os.unlink(name, dir_fd=dir_fd)
            self.view.put(node.ino, name, None)

    def _replaced(self, victim: Node, there: Where) -> None:
        del victim.names[there]
        if not victim.names:
            self.names.orphan(victim)
