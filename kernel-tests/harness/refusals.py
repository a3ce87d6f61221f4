"""Runs commands that must fail, and proves that each said why in one line and left nothing."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

from harness.command import Cli

from imagefs.store import Store
from imagefs.testing import leftovers

#: Made once, when they are first needed, and of no size that matters.
_LASTING = {"blobs/sha256", "locks/gc", "meta.db-wal", "meta.db-shm", "mounts"}


@dataclass(frozen=True)
class State:
    """All that a command could leave behind, except in files that it was told to write."""

    files: frozenset[str]
    rows: frozenset[tuple[object, ...]]
    running: frozenset[str]
    mounts: tuple[str, ...]
    temporary: frozenset[str]
    processes: frozenset[int]

    def beyond(self, before: State) -> list[str]:
        """What there is or is missing that was otherwise before."""
        return [
            f"{field.name}: {sorted(map(str, now ^ then))}"
            for field in fields(self)
            if (now := set(getattr(self, field.name))) != (then := set(getattr(before, field.name)))
        ]


class Refusals:
    """`refused("pull", name, says=["…"])`; the store is there, so that only changes show."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.temporary = cli.directory / "temporary"
        self.temporary.mkdir()
        cli.environment["TMPDIR"] = str(self.temporary)
        cli.environment["IMAGEFS_RETRY_BUDGET"] = "0.2"
        self.store = Store.open(cli.root, leftovers.run_directory(cli.root))
        self.store.close()

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        says: Sequence[str],
        status: int = 125,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> str:
        """Run it; the line it said. `says` are parts of the line, in this order."""
        before = self.state()
        done = self.cli(*arguments, status=status, environment=environment, stdin=stdin)
        line = the_line(done.stderr)
        assert done.stdout == "", done.stdout
        assert_says(line, says)
        self.assert_as(before)
        return line

    def assert_as(self, before: State) -> None:
        """Fail unless all is as it was then."""
        left = self.state().beyond(before)
        assert not left, "; ".join(left)

    def state(self) -> State:
        """What there is now."""
        return State(
            files=frozenset(_files(self.cli.root)),
            rows=frozenset(_rows(self.cli.root / "meta.db")),
            running=frozenset(_files(leftovers.run_directory(self.cli.root))),
            mounts=tuple(
                mount.mountpoint
                for mount in leftovers.mounts()
                if mount.mountpoint.startswith(f"{self.cli.directory}/")
            ),
            temporary=frozenset(_files(self.temporary)),
            processes=frozenset(
                process.pid
                for process in leftovers.processes()
                if process.belongs_to(self.cli.root)
            ),
        )


def the_line(stderr: str) -> str:
    """The only line of stderr."""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("Error: "), stderr
    assert "Traceback" not in stderr
    return lines[0].removeprefix("Error: ")


def assert_says(line: str, parts: Sequence[str]) -> None:
    """Fail unless the line has all parts, in their order."""
    pattern = ".*".join(map(re.escape, parts))
    assert re.search(pattern, line), f"{line!r} does not say {parts}"


def _files(root: Path) -> list[str]:
    found = [str(path.relative_to(root)) for path in root.rglob("*")]
    return [name for name in found if name not in _LASTING]


def _rows(database: Path) -> list[tuple[object, ...]]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return [
            (table, *row)
            for table in tables
            for row in connection.execute(f'SELECT * FROM "{table}"')
        ]
