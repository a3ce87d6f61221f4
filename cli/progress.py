"""Progress on stderr: bars on a terminal, plain lines in a pipe, nothing with `--quiet`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from imagefs.image.progress import Silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from imagefs.image.progress import Progress


class _Lines(Silent):
    """A line when something begins and when it ends."""

    def __init__(self) -> None:
        self._tasks: list[tuple[str, int | None]] = []

    def start(self, what: str, total: int | None) -> int:
        self._tasks.append((what, total))
        self.note(f"{what}: {_size(total)}" if total is not None else what)
        return len(self._tasks) - 1

    def finish(self, task: int, how: str = "done") -> None:
        self.note(f"{self._tasks[task][0]}: {how}")

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _Drawn(Silent):
    """A bar for each task, which stays when it is over; nothing is drawn before the first."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    @cached_property
    def _bars(self) -> Bars:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )

        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[how]}"),
            console=Console(stderr=True),
        )
        return self._stack.enter_context(bars)

    def start(self, what: str, total: int | None) -> int:
        return int(self._bars.add_task(what, total=total, how=""))

    def advance(self, task: int, count: int) -> None:
        self._bars.advance(self._bars.task_ids[task], count)

    def finish(self, task: int, how: str = "done") -> None:
        row = self._bars.tasks[task]
        self._bars.update(row.id, total=row.total or 1, completed=row.total or 1, how=how)

    def note(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, markup=False)


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """What work on images may tell its progress to."""
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        with ExitStack() as stack:
            yield _Drawn(stack)


def _size(count: int) -> str:
    """`count` bytes for people."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
