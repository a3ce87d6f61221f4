"""The merged view in memory: which name is which object. Touches no file and no journal.

Only objects of the upper have a `Node`; everything else is answered by the tree. A lower directory
that was copied up keeps its inode number, so a lower object that was not copied up is always found
at its lower name below its lower parent, wherever that parent is now.
"""

from __future__ import annotations

import stat
from collections import OrderedDict
from hashlib import blake2b

from imagefs.tree import ROOT, Tree

WHITEOUT = 0
_ROWS = 32 << 10  # of listings that are kept: an image's, in 5 MB
_COOKIE_BITS = 62
_RESERVED = 15  # cookies up to here are the FUSE layer's


class Node:
    """One object of the upper."""

    __slots__ = (
        "entries",
        "filling",
        "ino",
        "kind",
        "lookups",
        "lower",
        "metacopy",
        "names",
        "orphan",
        "subdirs",
    )

    def __init__(self, ino: int, kind: int, lower: int) -> None:
        self.ino = ino
        self.kind = kind  # S_IFMT bits
        self.lower = lower  # directories: merged with it; others: copied from it; 0: neither
        self.metacopy = False  # the data is still lower's
        self.filling: int | None = None  # mtime_ns, while data is being copied
        self.names: dict[tuple[int, bytes], None] = {}
        self.entries: dict[bytes, int] = {}  # name -> ino or WHITEOUT
        self.subdirs = 0  # of the merged directory
        self.orphan = False
        self.lookups = 0  # what the kernel has to forget, as far as this server knows


Row = tuple[int, bytes, int]  # cookie, name, ino


class View:
    """Names to inode numbers and back."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        root = Node(ROOT, stat.S_IFDIR, ROOT)
        root.subdirs = tree.attr(ROOT).nlink - 2
        self._root = root
        self.nodes: dict[int, Node] = {ROOT: root}
        self._listings: OrderedDict[int, list[Row]] = OrderedDict()
        self._listed = 0  # what they count: their rows, and one each

    @property
    def changed(self) -> bool:
        """Whether the upper has anything: then the root has an entry of its own."""
        return bool(self._root.entries)

    def kind(self, ino: int) -> int:
        """S_IFMT bits. Precondition: the object exists, or existed in the tree."""
        node = self.nodes.get(ino)
        return node.kind if node else self.tree.attr(ino).kind

    def is_dir(self, ino: int) -> bool:
        """Whether it is a directory; precondition as `kind`."""
        return self.kind(ino) == stat.S_IFDIR

    def entry(self, parent: int, name: bytes) -> int:
        """The object at a name, 0 if there is none."""
        node = self.nodes.get(parent)
        if node is None:
            return self.tree.child(parent, name) or 0
        found = node.entries.get(name)
        return self.lower_entry(parent, name) if found is None else found

    def lower_entry(self, parent: int, name: bytes) -> int:
        """What the lower has at a name, hidden or not; 0 if nothing."""
        node = self.nodes.get(parent)
        lower = node.lower if node else parent
        return self.tree.child(lower, name) or 0 if lower else 0

    def lower_names(self, ino: int) -> list[tuple[int, bytes]]:
        """The lower names of a tree object that the upper neither hides nor has."""
        return [
            (parent, name)
            for parent, name in self.tree.names(ino)
            if self._shows_lower(parent) and name not in self._entries(parent)
        ]

    def _entries(self, ino: int) -> dict[bytes, int]:
        node = self.nodes.get(ino)
        return node.entries if node else {}

    def _shows_lower(self, directory: int) -> bool:
        node = self.nodes.get(directory)
        if node is not None:
            return node.lower == directory
        return bool(self.lower_names(directory))

    def parent(self, ino: int) -> int:
        """The directory that holds a directory. The root's is itself."""
        node = self.nodes.get(ino)
        if node is None:
            return self.tree.parent(ino)
        return next(iter(node.names), (ino, b""))[0]

    def put(self, parent: int, name: bytes, ino: int | None) -> None:
        """Set an entry of an upper directory (None: take it out)."""
        node = self.nodes[parent]
        before = self.entry(parent, name)
        if ino is None:
            node.entries.pop(name, None)
        else:
            node.entries[name] = ino
        after = self.entry(parent, name)
        node.subdirs += bool(after and self.is_dir(after)) - bool(before and self.is_dir(before))
        self._drop_listing(parent)

    def name(self, node: Node, parent: int, name: bytes) -> None:
        """Give a node a name."""
        before = self.entry(parent, name)
        if before == node.ino and self.nodes[parent].entries.get(name) is None:
            self.nodes[parent].entries[name] = node.ino  # was lower, is upper: same view
        else:
            self.put(parent, name, node.ino)
        node.names[parent, name] = None

    def count_subdirs(self, node: Node) -> None:
        """Set `subdirs` of a directory whose entries were filled in by hand."""
        total = self.tree.attr(node.lower).nlink - 2 if node.lower else 0
        for name, ino in node.entries.items():
            lower = self.lower_entry(node.ino, name)
            if lower and self.tree.attr(lower).kind == stat.S_IFDIR:
                total -= 1
            if ino and self.is_dir(ino):
                total += 1
        node.subdirs = total

    def children(self, ino: int) -> list[tuple[bytes, int]]:
        """All names of the merged directory, in no order."""
        node = self.nodes.get(ino)
        if node is None:
            return list(self.tree.children(ino))
        lower = self.tree.children(node.lower) if node.lower else ()
        rows = [(name, child) for name, child in lower if name not in node.entries]
        rows += [(name, child) for name, child in node.entries.items() if child]
        return rows

    def empty(self, ino: int) -> bool:
        """Whether a directory shows no names."""
        return not self.children(ino)

    def listing(self, ino: int) -> list[Row]:
        """The merged directory in order of cookies, which are hashes of the names."""
        rows = self._listings.get(ino)
        if rows is None:
            rows = _with_cookies(self.children(ino))
            self._listings[ino] = rows
            self._listed += 1 + len(rows)
            while self._listed > _ROWS and len(self._listings) > 1:
                self._drop_listing(next(iter(self._listings)))
        else:
            self._listings.move_to_end(ino)
        return rows

    def _drop_listing(self, ino: int) -> None:
        rows = self._listings.pop(ino, None)
        if rows is not None:
            self._listed -= 1 + len(rows)


def _with_cookies(children: list[tuple[bytes, int]]) -> list[Row]:
    hashed = sorted(
        (int.from_bytes(blake2b(name, digest_size=8).digest()) >> 64 - _COOKIE_BITS, name, ino)
        for name, ino in children
    )
    rows: list[Row] = []
    last = _RESERVED
    for cookie, name, ino in hashed:
        last = max(cookie, last + 1)  # equal hashes: the names' order decides
        rows.append((last, name, ino))
    return rows
