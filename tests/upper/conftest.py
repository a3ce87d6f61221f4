from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from imagefs.testing.uppers import EngineDir
from imagefs.tree import Tree
from imagefs.upper import Caller, Engine, Journal, UpperDir
from imagefs.upper.userdialect import UserDialect

Start = Callable[..., EngineDir]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an engine over one upper, in the dialect that needs no root; again: takes over."""
    with ExitStack() as stack:

        def start(tree: Tree, resent: dict[int, int] | None = None) -> EngineDir:
            return open_engine(tree, tmp_path, stack, resent or {})

        yield start


def open_engine(
    tree: Tree, where: Path, stack: ExitStack, resent: dict[int, int] | None = None
) -> EngineDir:
    upper = UpperDir(where / "upper", where / "work")
    stack.callback(upper.close)
    journal = Journal(where / "journal")
    stack.callback(journal.close)
    engine = Engine(tree, upper, journal, dialect=UserDialect())
    stack.callback(engine.close)
    engine.resume(resent or {}, ())
    return EngineDir(engine, Caller(os.getpid(), os.getuid(), os.getgid(), 0o022))
