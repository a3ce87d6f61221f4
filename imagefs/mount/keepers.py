"""The server's side of its keeper: telling it how things are, and starting another when it dies."""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("keeper.py")


def keeper_command(*args: str) -> list[str]:
    """How a keeper is run: without site-packages and without the environment's say."""
    return [sys.executable, "-I", "-S", str(PROGRAM), *args]


class KeeperLink:
    """The keeper of this server, whichever process that is now.

    `held` is what both hold: the mounted /dev/fuse, and a secret if there is one.
    """

    @classmethod
    def of(cls, argv: Sequence[str]) -> KeeperLink | None:
        """The keeper that started this server with RUN KEEPER RESTARTS LINK [FUSE [SECRET]].

        Waits for FUSE where there is no mount yet; None if none was wanted after all.
        """
        run = Path(argv[0])
        pid, restarts, link_fd = map(int, argv[1:4])
        link = socket.socket(fileno=link_fd)
        held = tuple(map(int, argv[4:])) or tuple(socket.recv_fds(link, 16, 2)[1])
        for fd in (link_fd, *held):
            os.set_inheritable(fd, False)
        return cls(run, link, pid, restarts, held) if held else None

    def __init__(
        self, run: Path, link: socket.socket, pid: int, restarts: int, held: tuple[int, ...]
    ) -> None:
        self.run = run
        self._link = link
        self._pid = pid
        self._restarts = restarts
        self.held = held
        self._own_child = False
        self._changing = threading.Lock()

    def say(self, message: str) -> None:
        """Tell the keeper; one that has died is told nothing."""
        with self._changing, suppress(OSError):
            self._link.send(os.fsencode(message))

    def watch(self) -> None:
        """From now on start a new keeper on the descriptor whenever this one dies.

        In a thread, since the loop may be in a long disk call just when nobody else holds the
        mount. Ends with the process.
        """
        threading.Thread(target=self._watch, name="keeper", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._wait_for_death()
            log.warning("the keeper (%d) died: starting another", self._pid)
            with self._changing:
                self._replace()

    def _wait_for_death(self) -> None:
        try:
            fd = os.pidfd_open(self._pid)
        except ProcessLookupError:
            return
        try:
            if self._own_child or os.getppid() == self._pid:
                select.select([fd], [], [])
        finally:
            os.close(fd)
        if self._own_child:
            self._reap()

    def _reap(self) -> None:
        os.waitpid(self._pid, 0)  # it has ended: this doesn't wait

    def _replace(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = (theirs.fileno(), *self.held)
        numbers = [theirs.fileno(), os.getpid(), self._restarts, *self.held]
        command = keeper_command("adopt", str(self.run), *map(str, numbers))
        with theirs:
            for fd in fds:
                os.set_inheritable(fd, True)
            self._pid = os.posix_spawn(command[0], command, os.environ)
            for fd in self.held:
                os.set_inheritable(fd, False)
        self._own_child = True
        self._link.close()
        self._link = ours
