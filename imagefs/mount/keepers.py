"""The server's side of its keeper: telling it how things are, and starting another when it dies."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import trio

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("keeper.py")


def keeper_command(*args: str) -> list[str]:
    """How a keeper is run: without site-packages and without the environment's say."""
    return [sys.executable, "-I", "-S", str(PROGRAM), *args]


class KeeperLink:
    """The keeper of this server, whichever process that is now; `held` is what it holds."""

    def __init__(
        self, run: Path, link: socket.socket, pid: int, restarts: int, held: tuple[int, ...]
    ) -> None:
        self._run = run
        self._link = link
        self._pid = pid
        self._restarts = restarts
        self._held = held
        self._own_child = False

    def say(self, message: str) -> None:
        """Tell the keeper; one that has died is told nothing."""
        try:
            self._link.send(os.fsencode(message))
        except OSError:
            pass

    async def watch(self) -> None:
        """For ever: wait for the keeper's death, then start a new one on the descriptor."""
        while True:
            await self._death()
            log.warning("the keeper (%d) died: starting another", self._pid)
            self._replace()

    async def _death(self) -> None:
        try:
            fd = os.pidfd_open(self._pid)
        except ProcessLookupError:
            return
        try:
            if self._own_child or os.getppid() == self._pid:
                await trio.lowlevel.wait_readable(fd)
        finally:
            os.close(fd)
        if self._own_child:
            self._reap()

    def _reap(self) -> None:
        os.waitpid(self._pid, 0)  # it has ended: this doesn't wait

    def _replace(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = (theirs.fileno(), *self._held)
        numbers = [theirs.fileno(), os.getpid(), self._restarts, *self._held]
        command = keeper_command("adopt", str(self._run), *map(str, numbers))
        with theirs:
            for fd in fds:
                os.set_inheritable(fd, True)
            self._pid = os.posix_spawn(command[0], command, os.environ)
            for fd in self._held:
                os.set_inheritable(fd, False)
        self._own_child = True
        self._link.close()
        self._link = ours
