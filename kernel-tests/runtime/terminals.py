"""A terminal for a command under test: what it shows, what is typed, how big it is."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from types import TracebackType
from typing import Any, Self

from harness.command import COMMAND, Cli

_PATIENCE = 60.0


class Terminal:
    """`imagefs ARGUMENTS` on a terminal of `size` (lines, columns)."""

    def __init__(self, cli: Cli, *arguments: str, size: tuple[int, int] = (24, 80)) -> None:
        self._ours, self._theirs = pty.openpty()
        self._seen = ""
        self.resize(*size)
        self._process = subprocess.Popen(
            [COMMAND, *arguments],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=cli.environment,
            start_new_session=True,
            preexec_fn=self._take,
        )

    def _take(self) -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def resize(self, lines: int, columns: int) -> None:
        """As if the window were dragged; the kernel tells the foreground processes."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def write(self, text: str) -> None:
        """Type."""
        os.write(self._ours, text.encode())

    def read_until(self, text: str) -> str:
        """What was shown up to and with `text`, since the last call."""
        while text not in self._seen:
            ready, _, _ = select.select([self._ours], [], [], _PATIENCE)
            assert ready, f"no {text!r} in {self._seen!r}"
            self._seen += os.read(self._ours, 4096).decode()
        end = self._seen.index(text) + len(text)
        found, self._seen = self._seen[:end], self._seen[end:]
        return found

    def modes(self) -> list[Any]:
        """The terminal's settings, as tcgetattr(3)."""
        return termios.tcgetattr(self._theirs)

    def wait(self) -> int:
        """The command's exit status; what it shows meanwhile is read."""
        while self._process.poll() is None:
            if select.select([self._ours], [], [], 0.05)[0]:
                self._seen += os.read(self._ours, 4096).decode()
        return self._process.returncode
