"""Breaks an operation of an engine at each of its steps and looks at what is left. For tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagefs.testing.faults import SCENARIOS, Death, faults
from imagefs.testing.overlayfs import engine_on
from imagefs.testing.upper_ops import apply, small_tree
from imagefs.testing.uppers import EngineDir, dump, walk
from imagefs.upper.dialect import Dialect
from imagefs.upper.journal import OPERATIONS

_OPCODES = {name: code for code, name in OPERATIONS.items()}
MakeDialect = Callable[[], Dialect]


@contextmanager
def prepared(name: str, make_dialect: MakeDialect) -> Iterator[tuple[Path, EngineDir]]:
    """An upper on which the scenario's first operations were done."""
    tree = small_tree(os.getuid(), os.getgid())
    with (
        tempfile.TemporaryDirectory() as text,
        engine_on(tree, Path(text), make_dialect()) as engine,
    ):
        for operation in SCENARIOS[name][0]:
            assert apply(operation, engine) == 0, operation
        engine.reply()
        yield Path(text), engine


def before_and_after(name: str, make_dialect: MakeDialect) -> tuple[list[str], list[str]]:
    """What the tree looks like without and with the operation."""
    with prepared(name, make_dialect) as (_, engine):
        before = dump(engine)
        assert apply(SCENARIOS[name][1], engine) == 0
        return before, dump(engine)


def fail_at_each_step(name: str, make_dialect: MakeDialect) -> int:
    """An error leaves the tree as it was, in memory and on disk. Returns the number of steps."""
    before, after = before_and_after(name, make_dialect)
    tree = small_tree(os.getuid(), os.getgid())
    step = 0
    while True:
        with prepared(name, make_dialect) as (where, engine):
            with faults(step, kill=False) as made:
                result = apply(SCENARIOS[name][1], engine)
            engine.reply()
            if made.count <= step:
                return step
            left = dump(engine)
            # A failure to tidy up after the step that counts may still be told to the caller.
            assert left in ((before, after) if result else (after,)), (name, step)
            with engine_on(tree, where, make_dialect()) as again:
                assert dump(again) == left, (name, step)
        step += 1


def kill_at_each_step(name: str, make_dialect: MakeDialect, resend: bool) -> int:
    """A death leaves the state before or after, and a request that is sent again happens once."""
    before, after = before_and_after(name, make_dialect)
    tree = small_tree(os.getuid(), os.getgid())
    operation = SCENARIOS[name][1]
    resent = {os.getpid(): _OPCODES[operation[0]]} if operation[0] in _OPCODES else {}
    step = 0
    while True:
        with prepared(name, make_dialect) as (where, engine):
            inos = {path: st.ino for path, st in walk(engine)}
            with faults(step, kill=True) as made:
                try:
                    apply(operation, engine)
                except Death:
                    pass
            if not made.dead:
                return step
            engine.engine.close()
            with engine_on(tree, where, make_dialect(), resent=resent if resend else {}) as again:
                if resend:
                    assert apply(operation, again) == 0, (name, step)
                    again.reply()
                    assert dump(again) == after, (name, step)
                else:
                    assert dump(again) in (before, after), (name, step)
                    left = {path: st.ino for path, st in walk(again)}
                    if dump(again) == before:
                        assert left == inos, (name, step)
                assert not any((where / "work" / "made").iterdir()), (name, step)
        step += 1
