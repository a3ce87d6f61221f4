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

    def stat(self, ino: int) -> Stat:
        """Precondition: the object is known."""
        node = self.view.nodes.get(ino)
        if node is None or self.backing is None:
            st = self._lower(ino)
        else:
            st = self._upper(node, self.backing.stat(node))
        if self.squash is not None:
            st = st._replace(uid=self.squash.uid, gid=self.squash.gid)
        return st

    def _lower(self, ino: int) -> Stat:
        attr = self.view.tree.attr(ino)
        nlink = attr.nlink
        if ino != ROOT and self.view.nodes[ROOT].entries:  # something was changed
            names = self.view.lower_names(ino)
            nlink = len(names) if attr.kind != stat.S_IFDIR else nlink if names else 0
        return Stat(
            ino=ino,
            mode=attr.kind | attr.mode,
            nlink=nlink,
            uid=attr.uid,
            gid=attr.gid,
            rdev=attr.rdev,
            size=attr.size,
            atime_ns=attr.mtime_ns,
            mtime_ns=attr.mtime_ns,
            ctime_ns=attr.mtime_ns,
            blksize=BLOCK,
            blocks=-(-attr.size // _UNIT) if attr.kind == stat.S_IFREG else 0,
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
