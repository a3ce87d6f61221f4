"""A layer can't speak overlayfs's language through the engine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from imagefs.formats.index import Entry
from imagefs.testing.overlayfs import engine_on, overlayfs
from imagefs.testing.uppers import OLD, dump, extract, lower_tree
from imagefs.upper import UpperDir
from imagefs.upper.changes import LayerDiff

HOSTILE = (
    (b"trusted.overlay.metacopy", b""),
    (b"trusted.overlay.opaque", b"y"),
    (b"trusted.overlay.redirect", b"/etc/shadow"),
)


def entries(xattrs: tuple[tuple[bytes, bytes], ...]) -> list[Entry]:
    return [
        Entry(b"", stat.S_IFDIR, 0o755, mtime_ns=OLD),
        Entry(b"etc", stat.S_IFDIR, 0o755, mtime_ns=OLD),
        Entry(b"etc/shadow", stat.S_IFREG, 0o600, size=10, mtime_ns=OLD),
        Entry(b"d", stat.S_IFDIR, 0o755, mtime_ns=OLD, xattrs=xattrs),
        Entry(b"d/f", stat.S_IFREG, 0o644, size=20, mtime_ns=OLD, xattrs=xattrs),
    ]


def test_a_layers_overlay_xattrs_are_data_and_mean_nothing(tmp_path: Path) -> None:
    tree = lower_tree(entries(HOSTILE))
    with engine_on(tree, tmp_path) as engine:
        before = engine.xattrs(b"d/f"), engine.read(b"d/f")
        engine.chmod(b"d", 0o700)
        engine.chmod(b"d/f", 0o600)
        assert (engine.xattrs(b"d/f"), engine.read(b"d/f")) == before
        assert engine.xattrs(b"d") == dict(HOSTILE)
        expected = dump(engine)
    with engine_on(tree, tmp_path) as engine:
        assert dump(engine) == expected
    upper = UpperDir(tmp_path / "upper", tmp_path / "work")
    with LayerDiff(tree, upper) as diff:
        written = {row.entry.path: row.entry.xattrs for row in diff.entries()}
    upper.close()
    assert written == {b"d": HOSTILE, b"d/f": HOSTILE}
    extract(lower_tree(entries(())), tmp_path / "lower", owners=True)
    with overlayfs(tmp_path / "lower", tmp_path) as kernel:
        assert dump(kernel) == expected


def test_marks_are_neither_shown_nor_reachable(tmp_path: Path) -> None:
    tree = lower_tree(entries(()))
    with engine_on(tree, tmp_path) as engine:
        engine.rename(b"d", b"n")
        assert b"trusted.overlay.redirect" in map(
            os.fsencode, os.listxattr(tmp_path / "upper" / "n")
        )
        assert engine.xattrs(b"n") == {}
        engine.setxattr(b"n", b"trusted.overlay.redirect", b"/etc")
        assert engine.names(b"n") == [b"f"]
        engine.removexattr(b"n", b"trusted.overlay.redirect")
    with engine_on(tree, tmp_path) as engine:
        assert engine.names(b"n") == [b"f"]
