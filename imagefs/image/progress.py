"""How work on images tells what it does. Prints nothing: the command line draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears of each blob that is read or written; every method returns at once."""

    def start(self, what: str, total: int | None) -> int:
        """A task of `total` bytes begins (None: not known); returns its number."""
        ...

    def advance(self, task: int, count: int) -> None:
        """`count` more bytes of `task`."""
        ...

    def finish(self, task: int, how: str = "done") -> None:
        """`task` is over: done, or already there."""
        ...

    def note(self, line: str) -> None:
        """Something worth a line that is no task."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, what: str, total: int | None) -> int:
        """See `Progress`."""
        return 0

    def advance(self, task: int, count: int) -> None:
        """See `Progress`."""

    def finish(self, task: int, how: str = "done") -> None:
        """See `Progress`."""

    def note(self, line: str) -> None:
        """See `Progress`."""
