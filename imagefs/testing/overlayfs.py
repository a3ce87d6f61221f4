"""The kernel's overlayfs for tests, and engines beside it. Needs root; nothing stays mounted."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from imagefs.testing.uppers import EngineDir, PlainDir
from imagefs.tree import Tree
from imagefs.upper import Caller, Engine, Journal, UpperDir
from imagefs.upper.dialect import Dialect

_libc = ctypes.CDLL(None, use_errno=True)
_OPTIONS = "redirect_dir=on,metacopy=on,index=off,xino=on"
_MNT_DETACH = 2


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def overlayfs(lower: Path, where: Path) -> Iterator[PlainDir]:
    """The kernel's view of where/upper over `lower`."""
    at = where / "mounted"
    at.mkdir(exist_ok=True)
    options = f"lowerdir={lower},upperdir={where / 'upper'},workdir={where / 'work'},{_OPTIONS}"
    _check(_libc.mount(b"overlay", os.fsencode(at), b"overlay", 0, options.encode()))
    try:
        plain = PlainDir(at)
        try:
            yield plain
        finally:
            plain.close()
    finally:
        _check(_libc.umount2(os.fsencode(at), _MNT_DETACH))


@contextmanager
def engine_on(
    tree: Tree,
    where: Path,
    dialect: Dialect | None = None,
    journal: bool = True,
    resent: Mapping[int, int] | None = None,
) -> Iterator[EngineDir]:
    """An engine over where/upper that takes over from an earlier one; this process calls."""
    with ExitStack() as stack:
        upper = UpperDir(where / "upper", where / "work")
        stack.callback(upper.close)
        kept = Journal(where / "journal", enabled=journal)
        stack.callback(kept.close)
        engine = Engine(tree, upper, kept, dialect=dialect)
        stack.callback(engine.close)
        engine.resume(resent or {}, ())
        caller = Caller(os.getpid(), os.getuid(), os.getgid(), 0o022)
        yield EngineDir(engine, caller, kept)
