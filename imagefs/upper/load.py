"""Build the view from an upper on disk: ours, before a crash too, or the kernel's. Reads no data.

Repairs what a crash may have left (see docs/formats/upper.md); costs what changed, not the image.
"""

from __future__ import annotations

import os
import stat

from imagefs.errors import ImagefsError
from imagefs.tree import ROOT
from imagefs.upper.backing import Backing
from imagefs.upper.dialect import Marks, gone_at
from imagefs.upper.types import BORN, Stat
from imagefs.upper.upperdir import proc_path
from imagefs.upper.view import WHITEOUT, Node


class UpperError(ImagefsError):
    """An upper that can't be what a mount of this image wrote."""


class Loader:
    """One walk over the upper; without `repair` nothing is written (another may serve it)."""

    def __init__(self, backing: Backing, repair: bool = True) -> None:
        self.backing = backing
        self.view = backing.view
        self.tree = backing.view.tree
        self.dialect = backing.dialect
        self._repairs = repair
        self._by_backing: dict[int, Node] = {}

    def load(self) -> None:
        """Fill the view. Raises UpperError."""
        todo = [ROOT]
        order = [ROOT]
        while todo:
            ino = todo.pop()
            below = self._directory(self.view.nodes[ino])
            todo += below
            order += below
        for ino in order:
            self.view.count_subdirs(self.view.nodes[ino])
        if self._repairs:
            self._orphans()

    def _directory(self, node: Node) -> list[int]:
        below: list[int] = []
        try:
            dir_fd = self.backing.dir_fd(node.ino)
            with os.scandir(proc_path(dir_fd, b".")) as rows:
                names = sorted(row.name for row in rows)
        except FileNotFoundError:
            self._vanished()
            return below
        for name in names:
            try:
                st = self.dialect.stat(dir_fd, name)
                marks = self.dialect.marks(dir_fd, name, st)
            except FileNotFoundError:
                self._vanished()
                continue
            if marks.whiteout:
                self._whiteout(node, dir_fd, name)
            elif marks.gone and self._replaced(node, dir_fd, name, marks.gone):
                continue
            elif stat.S_ISDIR(st.mode):
                below.append(self._subdirectory(node, name, st, marks))
            else:
                self._file(node, name, st, marks)
        return below

    def _vanished(self) -> None:
        """Something is gone since it was listed: right where another process serves the upper."""
        if self._repairs:
            raise UpperError(f"the upper {self.backing.upper.upper} is changed by someone else")

    def _whiteout(self, parent: Node, dir_fd: int, name: bytes) -> None:
        if self.view.lower_entry(parent.ino, name):
            parent.entries[name] = WHITEOUT
        elif self._repairs:  # left by a rename that a crash cut short: it hides nothing
            with self.backing.times_kept(parent.ino):
                os.unlink(name, dir_fd=dir_fd)

    def _replaced(self, parent: Node, dir_fd: int, name: bytes, gone: bytes) -> bool:
        """Whether a crash left here a directory that another had replaced; puts it aside."""
        ino = int(gone.split(b" ", 1)[0])
        here = dir_fd, name
        if gone != gone_at(ino, parent.ino, name):  # the crash came before the step
            if self._repairs:
                self.dialect.mark(*here, "gone", None)
            return False
        covers = bool(self.view.lower_entry(parent.ino, name))
        if covers:
            parent.entries[name] = WHITEOUT
        if self._repairs:
            aside = self.backing.orphan_place(ino)
            self.backing.cover(here, aside)
            if not covers:
                self.backing.drop(here)
        return True

    def _subdirectory(self, parent: Node, name: bytes, st: Stat, marks: Marks) -> int:
        lower = 0 if marks.opaque else self._lower_of(parent, name, marks)
        if lower and self.tree.attr(lower).kind != stat.S_IFDIR:
            lower = 0
        ino = lower or marks.ino or BORN + st.ino
        if ino in self.view.nodes:
            raise UpperError(
                f"the upper {self.backing.upper.upper} shows the directory "
                f"{os.fsdecode(self.tree.path(ino)) if lower else ino} at two places; "
                "remove one of them from it"
            )
        node = Node(ino, stat.S_IFDIR, lower)
        self._enter(node, parent, name)
        return ino

    def _lower_of(self, parent: Node, name: bytes, marks: Marks) -> int:
        """The tree object that an upper object at this place continues; 0 if none."""
        if marks.redirect.startswith(b"/"):
            return self.tree.lookup(marks.redirect[1:]) or 0
        if marks.redirect:
            return self.view.lower_entry(parent.ino, marks.redirect)
        return self.view.lower_entry(parent.ino, name)

    def _file(self, parent: Node, name: bytes, st: Stat, marks: Marks) -> None:
        node = self._by_backing.get(st.ino)
        if node is None:
            node = self._new_file(parent, name, st, marks)
            if st.nlink > 1:
                self._by_backing[st.ino] = node
        self._enter(node, parent, name)
        self._repair(node, marks, st)

    def _new_file(self, parent: Node, name: bytes, st: Stat, marks: Marks) -> Node:
        kind = stat.S_IFMT(st.mode)
        ino = marks.ino
        lower = ino if 0 < ino < BORN else 0
        if not lower and (marks.metacopy or marks.origin):
            lower = self._lower_of(parent, name, marks)
            if lower and self.tree.attr(lower).kind != kind:
                lower = 0
            if lower and self.tree.attr(lower).nlink == 1:
                ino = lower  # the kernel copied it up: it stays the object it was
        if not ino or ino in self.view.nodes:
            ino = BORN + st.ino
        node = Node(ino, kind, lower)
        node.metacopy = marks.metacopy
        return node

    def _enter(self, node: Node, parent: Node, name: bytes) -> None:
        self.view.nodes[node.ino] = node
        parent.entries[name] = node.ino
        node.names[parent.ino, name] = None

    def _repair(self, node: Node, marks: Marks, st: Stat) -> None:
        """What lasts longer than a crash: the number of a file the kernel copied up, a mtime."""
        if node.metacopy:
            content = self.tree.content(node.lower) if node.lower else None
            node.metacopy = content is not None and st.size > 0  # else a truncation was cut short
        if not self._repairs:
            node.filling = marks.filling
            return
        if node.ino < BORN and marks.ino != node.ino:
            self.backing.mark(node, "ino", b"%d" % node.ino)
        if marks.filling is not None:
            self.backing.set_times(node, st.atime_ns, marks.filling)
            self.backing.mark(node, "filling", None)
        if marks.metacopy and not node.metacopy:
            self.backing.mark(node, "metacopy", None)

    def _orphans(self) -> None:
        upper = self.backing.upper
        for name in upper.listing("orphans"):
            place = upper.orphans, name
            st = self.dialect.stat(*place)
            marks = self.dialect.marks(*place, st)
            # A whiteout, or a link of what still has its name: prepared, but the step did not come.
            if marks.whiteout or not name.isdigit() or int(name) in self.view.nodes:
                self.backing.drop(place)
                continue
            node = Node(int(name), stat.S_IFMT(st.mode), 0)
            node.orphan = True
            self.view.nodes[node.ino] = node
            if node.kind != stat.S_IFDIR:
                named = self.tree.lookup(marks.redirect[1:]) if marks.redirect else 0
                node.lower = node.ino if node.ino < BORN else named or 0
                node.metacopy = marks.metacopy
                self._repair(node, marks, st)
