"""Stacks layer indexes into one tree by the OCI layer rules. Reads no content and opens nothing.

Image-spec, layer.md, "Applying Changesets": the whiteouts of a layer hide only what lies below it,
whatever their place among its entries, so each layer is applied in two passes: first what it
removes, then what it adds. A directory over a directory keeps the children; any other change of
type replaces.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Sequence

from imagefs.formats.index import Entry, FormatError, LayerIndex
from imagefs.tree.file import encode
from imagefs.tree.node import Directory, Node

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_MAX_LINKS = 40
#: Directories that a layer may name without describing them: deep paths are cheap to write.
UNDESCRIBED_MAX = 1 << 20

Warn = Callable[[str], None]


def build_tree(layers: Sequence[LayerIndex], warn: Warn | None = None) -> bytes:
    """The encoded tree (see `Tree.open`) of `layers`, lowest first; `warn` hears what was dropped.

    Raises FormatError where a hard link has no target.
    """
    return encode(merge([layer.entries for layer in layers], warn), len(layers))


def merge(layers: Sequence[Iterable[Entry]], warn: Warn | None = None) -> Directory:
    """The root of the merged tree of `layers`, each a list of entries in tar order."""
    root = Directory(layer=-1)
    for number, entries in enumerate(layers):
        _Layer(root, number, warn or (lambda _: None)).apply(entries)
    return root


class _Layer:
    """One layer being applied to the tree below it."""

    def __init__(self, root: Directory, number: int, warn: Warn) -> None:
        self.root = root
        self.number = number
        self.warn = warn
        self.undescribed = 0
        self.last: tuple[bytes, Directory] = (b"", root)  # entries come grouped by directory

    def apply(self, entries: Iterable[Entry]) -> None:
        removed: list[tuple[bytes, bytes]] = []
        added: list[tuple[bytes, bytes, Entry]] = []
        for entry in entries:
            parent, _, name = entry.path.rpartition(b"/")
            if not name.startswith(WHITEOUT):
                added.append((parent, name, entry))
            else:
                removed.append((parent, name))
        if removed:
            links = {e.path: e.link for _, _, e in added if stat.S_ISLNK(e.kind)}
            for parent, name in removed:
                self._remove(self._resolved(parent, lambda at: links.get(b"/".join(at))), name)
        for parent, name, entry in added:
            if name:
                self._add(self._directory(parent), name, entry)
            else:
                self.root.describe(entry, self.number)

    # -- what the layer removes

    def _remove(self, parent: list[bytes], name: bytes) -> None:
        into = _walk(self.root, parent)
        if not isinstance(into, Directory):
            return
        if name == OPAQUE:
            for child in into.children.values():
                child.unlinked()
            into.children.clear()
        elif not name.startswith(_AUFS):
            hidden = into.children.pop(name[len(WHITEOUT) :], None)
            if hidden is not None:
                hidden.unlinked()

    # -- what the layer adds

    def _add(self, into: Directory, name: bytes, entry: Entry) -> None:
        old = into.children.get(name)
        if isinstance(old, Directory) and stat.S_ISDIR(entry.kind):
            old.describe(entry, self.number)
            return
        new = self._object(entry)
        if new is old:
            return
        if old is not None:
            old.unlinked()
            del into.children[name]
            self.last = (b"", self.root)
        if new is not None:
            into.children[name] = new
            new.names += 1

    def _object(self, entry: Entry) -> Node | None:
        if entry.kind == 0:
            return self._link_target(entry)
        if stat.S_ISDIR(entry.kind):
            node = Directory(self.number)
            node.describe(entry, self.number)
            return node
        if stat.S_ISCHR(entry.kind) and not entry.major and not entry.minor:
            self.warn(
                f"{_shown(entry.path)}: dropped: to overlayfs a character device 0:0 is a whiteout"
            )
            return None
        return Node(entry, self.number)

    def _link_target(self, entry: Entry) -> Node:
        parent, _, name = entry.link.rpartition(b"/")
        target = _walk(self.root, [*self._resolved(parent, self._own_symlink), name])
        if target is None:
            target = _walk(self.root, [*self._resolved(parent, self._symlink), name])
        if target is None or isinstance(target, Directory):
            why = "does not exist" if target is None else "is a directory"
            raise FormatError(
                f"layer {self.number + 1}: hard link {_shown(entry.path)}: "
                f"its target {_shown(entry.link)} {why}"
            )
        return target

    def _directory(self, path: bytes) -> Directory:
        """The directory at `path`; what is missing or no directory on the way is made one."""
        if path == self.last[0]:
            return self.last[1]
        node = self.root
        for name in self._resolved(path, self._own_symlink):
            child = node.children.get(name)
            if not isinstance(child, Directory):
                if child is not None:
                    child.unlinked()
                child = self._undescribed()
                node.children[name] = child
            node = child
        self.last = (path, node)
        return node

    def _undescribed(self) -> Directory:
        self.undescribed += 1
        if self.undescribed > UNDESCRIBED_MAX:
            raise FormatError(
                f"layer {self.number + 1}: more than {UNDESCRIBED_MAX} directories without an entry"
            )
        made = Directory(self.number)
        made.names = 1
        return made

    def _resolved(self, path: bytes, symlink: Callable[[list[bytes]], bytes | None]) -> list[bytes]:
        """The names of `path` with symlinks resolved inside the root; `symlink` knows them.

        Extraction of one layer goes through the symlinks that the layer itself made; one from a
        lower layer is replaced by a directory instead, as where each layer is unpacked on its own.
        """
        todo = path.split(b"/")[::-1]
        done: list[bytes] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == b"..":
                del done[-1:]
            elif name not in (b"", b"."):
                target = symlink([*done, name])
                if target is None:
                    done.append(name)
                    continue
                links += 1
                if links > _MAX_LINKS:
                    raise FormatError(
                        f"layer {self.number + 1}: {_shown(path)}: too many levels of symlinks"
                    )
                if target.startswith(b"/"):
                    done.clear()
                todo += target.split(b"/")[::-1]
        return done

    def _symlink(self, names: list[bytes]) -> bytes | None:
        node = _walk(self.root, names)
        return node.entry.link if node is not None and stat.S_ISLNK(node.entry.kind) else None

    def _own_symlink(self, names: list[bytes]) -> bytes | None:
        node = _walk(self.root, names)
        return self._symlink(names) if node is not None and node.layer == self.number else None


def _walk(root: Node, names: Iterable[bytes]) -> Node | None:
    node: Node | None = root
    for name in names:
        node = node.children.get(name) if isinstance(node, Directory) else None
    return node


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "backslashreplace"))
