"""The mutable nodes a tree is merged in before it is written. Nothing else uses them."""

from __future__ import annotations

import stat

from imagefs.formats.index import Entry

#: What a directory is that no layer describes.
_IMPLICIT = Entry(path=b"", kind=stat.S_IFDIR, mode=0o755)


class Node:
    """An inode: `layer` described it last, `names` counts the directory entries that name it."""

    __slots__ = ("entry", "ino", "layer", "names")

    def __init__(self, entry: Entry, layer: int) -> None:
        self.entry = entry
        self.layer = layer
        self.names = 0
        self.ino = 0

    def describe(self, entry: Entry, layer: int) -> None:
        """Take the attributes of `entry`."""
        self.entry = entry
        self.layer = layer

    def unlinked(self) -> None:
        """One name of this node is gone."""
        self.names -= 1


class Directory(Node):
    """A directory, with the attributes of one that no layer describes until one does."""

    __slots__ = ("children",)

    def __init__(self, layer: int) -> None:
        super().__init__(_IMPLICIT, layer)
        self.children: dict[bytes, Node] = {}

    def unlinked(self) -> None:
        """The directory is gone, and with it a name of all that is below it."""
        below: list[Node] = [self]
        while below:
            node = below.pop()
            node.names -= 1
            if isinstance(node, Directory):
                below += node.children.values()
