"""An upper shows the same in the other dialect, and back."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings

from imagefs.testing.overlayfs import engine_on, overlayfs
from imagefs.testing.upper_ops import Operation, apply, operation_lists, small_tree
from imagefs.testing.uppers import dump, extract
from imagefs.upper import UpperDir
from imagefs.upper.convert import convert
from imagefs.upper.dialect import Dialect, OverlayDialect
from imagefs.upper.userdialect import UserDialect


def converted(old: Path, reader: Dialect, new: Path, writer: Dialect) -> None:
    with ExitStack() as stack:
        uppers = [UpperDir(where / "upper", where / "work") for where in (old, new)]
        for upper in uppers:
            stack.callback(upper.close)
        convert(uppers[0], reader, uppers[1], writer)


@given(operation_lists)
@example([("chown", b"t", 5, 6), ("chmod", b"d/f", 0o4711), ("rename", b"d", b"n")])
@example([("setxattr", b"d", b"trusted.x", b"1"), ("mknod", b"n", 0o020600, os.makedev(1, 3))])
@example([("setxattr", b"d", b"user.imagefs.ino", b"7"), ("symlink", b"n", b"nowhere")])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_upper_is_the_same_in_both_dialects(operations: list[Operation]) -> None:
    user, overlay = UserDialect(), OverlayDialect()
    tree = small_tree(0, 0)
    with tempfile.TemporaryDirectory() as text:
        first, second, third = (Path(text) / name for name in "abc")
        for where in (first, second, third):
            where.mkdir()
        with engine_on(tree, first, user) as engine:
            for operation in operations:
                apply(operation, engine)
            expected = dump(engine)
        converted(first, user, second, overlay)
        with engine_on(tree, second, overlay) as engine:
            assert dump(engine) == expected
            without_counts = dump(engine, nlinks=False)
        extract(tree, second / "lower", owners=True)
        with overlayfs(second / "lower", second) as kernel:
            assert dump(kernel, nlinks=False) == without_counts
        converted(second, overlay, third, user)
        with engine_on(tree, third, user) as engine:
            assert dump(engine) == expected
