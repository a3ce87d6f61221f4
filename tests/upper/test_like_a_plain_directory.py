"""Random operations on an engine and on a plain directory that holds the same tree."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings

from imagefs.testing.overlayfs import engine_on
from imagefs.testing.upper_ops import Operation, apply, operation_lists, small_tree
from imagefs.testing.uppers import EngineDir, PlainDir, dump, extract, walk
from imagefs.upper.userdialect import UserDialect


def inos(directory: EngineDir) -> dict[bytes, int]:
    return {path: st.ino for path, st in walk(directory)}


@given(operation_lists)
@example([("rename", b"d", b"n"), ("mkdir", b"d", 0o755), ("rename", b"n", b"d/n")])
@example([("chmod", b"d/f", 0o640), ("unlink", b"e/h"), ("write", b"d/g", 0, b"x")])
@example([("unlink", b"d/sub/x"), ("rename", b"e/empty", b"d/sub"), ("mkdir", b"e/empty", 0o755)])
@example([("unlink", b"d/sub/x"), ("rename", b"e", b"d/sub")])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_engine_behaves_like_a_plain_directory_and_a_restart_changes_nothing(
    operations: list[Operation],
) -> None:
    old = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
            where, tree = Path(text), small_tree(os.getuid(), os.getgid())
            extract(tree, where / "plain", owners=False)
            plain = PlainDir(where / "plain")
            stack.callback(plain.close)
            tried = stack.enter_context(engine_on(tree, where, UserDialect()))
            assert dump(tried) == dump(plain)
            for operation in operations:
                assert apply(operation, tried) == apply(operation, plain), operation
                assert dump(tried) == dump(plain), operation
                again = stack.enter_context(engine_on(tree, where, UserDialect()))
                assert dump(again) == dump(plain), operation
                assert inos(again) == inos(tried), operation
    finally:
        os.umask(old)
