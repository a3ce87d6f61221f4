"""What an upper changes about its tree, for diff and for commit. Only reads, a live upper too.

Paths are compared, not inodes: a moved directory is a deleted one and an added one with everything
below it, as podman's diff and OCI layers have it. A directory above a change is changed (other
tools take its attributes from the layer).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple

from imagefs.formats.index import Entry
from imagefs.formats.tarfields import PATH_MAX
from imagefs.tree import ROOT, Content, Tree
from imagefs.upper.dialect import Dialect
from imagefs.upper.engine import Engine
from imagefs.upper.types import Caller
from imagefs.upper.upperdir import UpperDir

WHITEOUT = b".wh."
_NOBODY = Caller(0, 0, 0, 0)
_HOST_ONLY = b"security.selinux"  # a label of this host, not of the image

Kind = Literal["A", "C", "D"]


class Change(NamedTuple):
    """One line of `diff`: added, changed or deleted. The path has no leading slash."""

    kind: Kind
    path: bytes


class LayerEntry(NamedTuple):
    """An entry of a layer to be; `ino` names the data of a regular file (0: none)."""

    entry: Entry
    ino: int


class _Found(NamedTuple):
    kind: Kind
    ino: int


def changes(tree: Tree, upper: UpperDir, dialect: Dialect | None = None) -> Iterator[Change]:
    """The changes sorted by path, parents first; the root itself is never one."""
    with LayerDiff(tree, upper, dialect) as diff:
        yield from diff.changes()


class LayerDiff:
    """The changes as the entries of an OCI layer, a function of the upper alone.

    Deleted names become whiteouts, never opaque directories. If one name of a file is in the layer
    all are, so that no hard link points out of it. `warnings` says what layers cannot hold and is
    left out: sockets, and names that begin with `.wh.`. With `whole` everything counts as added,
    for an image of one layer. Use as a context manager.
    """

    def __init__(
        self,
        tree: Tree,
        upper: UpperDir,
        dialect: Dialect | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.engine = Engine(tree, upper, dialect=dialect)
        self.engine.look()
        self.tree = tree
        self.view = self.engine.view
        self.warnings: list[str] = []
        self.found: dict[bytes, _Found] = {}
        self._compare(0 if whole else ROOT)
        self._add_parents()

    def __enter__(self) -> LayerDiff:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def changes(self) -> Iterator[Change]:
        """See `changes`."""
        for path in sorted(self.found, key=_parts):
            if path:
                yield Change(self.found[path].kind, path)

    # -- comparing

    def _compare(self, root: int) -> None:
        todo = [(ROOT, root, b"")]
        if not root or self._differs(ROOT, ROOT):
            self.found[b""] = _Found("C", ROOT)
        while todo:
            ino, below, prefix = todo.pop()
            for name in self._names(ino, below):
                path = prefix + name
                child = self.view.entry(ino, name)
                lower = self.tree.child(below, name) or 0 if below else 0
                if not child:
                    self.found[path] = _Found("D", 0)
                    continue
                if not lower:
                    self.found[path] = _Found("A", child)
                elif self._differs(child, lower):
                    self.found[path] = _Found("C", child)
                if self.view.is_dir(child):
                    same_kind = lower and self.tree.attr(lower).kind == stat.S_IFDIR
                    todo.append((child, lower if same_kind else 0, path + b"/"))

    def _names(self, ino: int, below: int) -> list[bytes]:
        """Names that may differ between a directory and the lower one at the same path."""
        node = self.view.nodes.get(ino)
        if (node.lower if node else ino) == below:
            return list(node.entries) if node else []
        names = {name for name, _ in self.view.children(ino)}
        return list(names.union(name for name, _ in self.tree.children(below)) if below else names)

    def _differs(self, ino: int, lower: int) -> bool:
        if ino == lower and ino not in self.view.nodes:
            return False
        st, attr = self.engine.getattr(ino), self.tree.attr(lower)
        if st.mode != attr.kind | attr.mode or st.mtime_ns != attr.mtime_ns:
            return True
        if (st.uid, st.gid, st.rdev) != (attr.uid, attr.gid, attr.rdev):
            return True
        if attr.kind == stat.S_IFREG and self._data_differs(ino, lower):
            return True
        if attr.kind == stat.S_IFLNK and self.engine.readlink(ino) != self.tree.readlink(lower):
            return True
        theirs = {k: v for k, v in self.tree.xattrs(lower).items() if k != _HOST_ONLY}
        return self._xattrs(ino) != theirs

    def _data_differs(self, ino: int, lower: int) -> bool:
        node = self.view.nodes.get(ino)
        if node is not None and not node.metacopy and self.engine.getattr(ino).size:
            return True  # it was opened for writing: that it is the same is not worth reading it
        return self.engine.lower_content(ino) != self.tree.content(lower)

    def _xattrs(self, ino: int) -> dict[bytes, bytes]:
        names = self.engine.listxattr(ino)
        return {n: self.engine.getxattr(ino, n, _NOBODY) for n in names if n != _HOST_ONLY}

    def _add_parents(self) -> None:
        for path in list(self.found):
            self._add_above(path)

    def _add_above(self, path: bytes) -> None:
        while path := path.rpartition(b"/")[0]:
            if path in self.found:
                return
            self.found[path] = _Found("C", self._lookup(path))

    def _lookup(self, path: bytes) -> int:
        ino = ROOT
        for name in path.split(b"/"):
            ino = self.view.entry(ino, name)
        return ino

    # -- the layer

    def entries(self) -> list[LayerEntry]:
        """The entries in order: parents first, by name, a file before links to it."""
        self._add_links()
        first: dict[int, bytes] = {}
        rows: list[LayerEntry] = []
        for path in sorted(self.found, key=_parts):
            kind, ino = self.found[path]
            if not self._can_be_held(path, ino):
                continue
            if kind == "D":
                parent, slash, name = path.rpartition(b"/")
                hidden = parent + slash + WHITEOUT + name
                rows.append(LayerEntry(Entry(hidden, stat.S_IFREG, 0o600), 0))
            elif ino in first:
                rows.append(LayerEntry(self._entry(path, ino, first[ino]), 0))
            else:
                if not self.view.is_dir(ino):
                    first[ino] = path
                entry = self._entry(path, ino, None)
                rows.append(LayerEntry(entry, ino if entry.size else 0))
        return rows

    def open(self, ino: int) -> int | Content:
        """The data of an entry: a descriptor to read and close, or where it lies in the lower."""
        content = self.engine.lower_content(ino)
        return content if content is not None else self.engine.open_data(ino)

    def _add_links(self) -> None:
        linked = {i for _, i in self.found.values() if i and not self.view.is_dir(i)}
        for ino in linked:
            node = self.view.nodes.get(ino)
            names = [*(node.names if node else ())]
            if ino <= self.tree.count:
                names += self.view.lower_names(ino)
            for parent, name in names:
                above = self._path(parent)
                path = above + b"/" + name if above else name
                if path not in self.found:
                    self.found[path] = _Found("C", ino)
                    self._add_above(path)

    def _path(self, ino: int) -> bytes:
        """Where a directory is now."""
        parts: list[bytes] = []
        while ino != ROOT:
            node = self.view.nodes.get(ino)
            ino, name = next(iter(node.names)) if node else self.tree.names(ino)[0]
            parts.append(name)
        return b"/".join(reversed(parts))

    def _can_be_held(self, path: bytes, ino: int) -> bool:
        shown = path.decode("utf-8", "backslashreplace")
        if any(part.startswith(WHITEOUT) for part in path.split(b"/")):
            self.warnings.append(f"{shown}: left out: in a layer this name means a deletion")
            return False
        if len(path) > PATH_MAX:
            self.warnings.append(f"{shown}: left out: no layer can hold a path of that length")
            return False
        if ino and self.view.kind(ino) == stat.S_IFSOCK:
            self.warnings.append(f"{shown}: left out: layers hold no sockets")
            return False
        return True

    def _entry(self, path: bytes, ino: int, link_to: bytes | None) -> Entry:
        st = self.engine.getattr(ino)
        kind = stat.S_IFMT(st.mode)
        link = link_to if link_to is not None else b""
        if link_to is None and kind == stat.S_IFLNK:
            link = self.engine.readlink(ino)
        return Entry(
            path=path,
            kind=kind if link_to is None else 0,
            mode=stat.S_IMODE(st.mode),
            uid=st.uid,
            gid=st.gid,
            size=st.size if kind == stat.S_IFREG and link_to is None else 0,
            mtime_ns=st.mtime_ns,
            link=link,
            major=os.major(st.rdev),
            minor=os.minor(st.rdev),
            xattrs=self._held_xattrs(path, ino) if link_to is None else (),
        )

    def _held_xattrs(self, path: bytes, ino: int) -> tuple[tuple[bytes, bytes], ...]:
        held = []
        for name, value in sorted(self._xattrs(ino).items()):
            if b"=" in name:
                shown = f"{path.decode('utf-8', 'backslashreplace')}: xattr {os.fsdecode(name)}"
                self.warnings.append(f"{shown}: left out: no tar can hold that name")
            else:
                held.append((name, value))
        return tuple(held)


def _parts(path: bytes) -> list[bytes]:
    return path.split(b"/")
