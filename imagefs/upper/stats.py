"""What stat(2) tells of the objects of a merged tree. Changes nothing."""

from __future__ import annotations

import stat

from imagefs.tree import ROOT
from imagefs.upper.backing import Backing
from imagefs.upper.types import Squash, Stat
from imagefs.upper.view import Node, View

BLOCK = 4096
_UNIT = 512  # of st_blocks


class Stats:
    """Attributes: the tree's for lower objects, the backing file's for those of the upper."""

    def __init__(self, view: View, backing: Backing | None, squash: Squash | None) -> None:
        self.view = view
        self.backing = backing
        self.squash = squash

    def stat(self, ino: int, named: bool = False) -> Stat:
        """Precondition: the object is known. `named`: it was found at a name just now, so a lower
        object's only name is not looked for again."""
        node = self.view.nodes.get(ino)
        if node is None or self.backing is None:
            st = self._lower(ino, named)
        else:
            st = self._upper(node, self.backing.stat(node))
        if self.squash is not None:
            st = st._replace(uid=self.squash.uid, gid=self.squash.gid)
        return st

    def _lower(self, ino: int, named: bool) -> Stat:
        _, kind, mode, nlink, uid, gid, rdev, size, mtime = self.view.tree.attr(ino)
        once = nlink == 1 or kind == stat.S_IFDIR
        if not (named and once) and self.view.changed and ino != ROOT:
            names = self.view.lower_names(ino)
            nlink = len(names) if kind != stat.S_IFDIR else nlink if names else 0
        blocks = -(-size // _UNIT) if kind == stat.S_IFREG else 0
        # By position: this is most of what a listing costs.
        return Stat(
            ino, kind | mode, nlink, uid, gid, rdev, size, mtime, mtime, mtime, BLOCK, blocks
        )

    def _upper(self, node: Node, st: Stat) -> Stat:
        st = st._replace(ino=node.ino)
        if node.orphan:
            return st._replace(nlink=0)
        if node.kind == stat.S_IFDIR:
            return st._replace(nlink=2 + node.subdirs)
        st = st._replace(nlink=len(node.names))
        if node.metacopy:
            mtime = st.mtime_ns if node.filling is None else node.filling
            st = st._replace(mtime_ns=mtime, blocks=-(-st.size // _UNIT))
        return st
