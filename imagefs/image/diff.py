"""What differs between two trees, as lines of `diff`. Reads no content."""

from __future__ import annotations

from collections.abc import Iterator

from imagefs.tree import ROOT, Tree
from imagefs.upper.changes import Change


def changes_between(below: Tree, above: Tree) -> Iterator[Change]:
    """What was added, changed and deleted, sorted by path; a directory above a change changed.

    `above` has the layers of `below` and more, so content is the same where it lies at one place.
    """
    changes: list[Change] = []
    _compare(below, ROOT, above, ROOT, b"", changes)
    changes.sort(key=lambda change: change.path.split(b"/"))
    yield from changes


def _compare(
    below: Tree, old: int, above: Tree, new: int, prefix: bytes, changes: list[Change]
) -> bool:
    """Whether anything differs in a directory."""
    before, after = dict(below.children(old)), dict(above.children(new))
    found = len(changes)
    for name in before.keys() | after.keys():
        path = prefix + name
        if name not in after:
            changes.append(Change("D", path))
        elif name not in before:
            changes.append(Change("A", path))
            _added(above, after[name], path + b"/", changes)
        else:
            inside = _compare(below, before[name], above, after[name], path + b"/", changes)
            if inside or _differs(below, before[name], above, after[name]):
                changes.append(Change("C", path))
    return len(changes) > found


def _added(above: Tree, ino: int, prefix: bytes, changes: list[Change]) -> None:
    for name, child in above.children(ino):
        changes.append(Change("A", prefix + name))
        _added(above, child, prefix + name + b"/", changes)


def _differs(below: Tree, old: int, above: Tree, new: int) -> bool:
    before, after = below.attr(old), above.attr(new)
    return (
        before._replace(ino=0, nlink=0) != after._replace(ino=0, nlink=0)
        or below.content(old) != above.content(new)
        or below.readlink(old) != above.readlink(new)
        or below.xattrs(old) != above.xattrs(new)
    )
