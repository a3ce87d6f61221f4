"""Starts a keeper with its server, before the mount is known, and tells it what to mount.

Never waits for more than the answer; what is not used leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from imagefs.errors import ImagefsError
from imagefs.mount.config import Config
from imagefs.mount.keepers import keeper_command
from imagefs.system.processes import wait_gone

_ANSWER_MAX = 1 << 16
_END_WITHIN = 10.0

SERVER = (sys.executable, "-P", "-m", "imagefs.mount.serve")


class MountFailed(ImagefsError):
    """A mount that could not be made; nothing of it is left."""


class Start:
    """A keeper and a server that import what they need and wait.

    Leaving the block without `mount` ends them and removes the mount's directory `run`.
    """

    def __init__(self, run: Path, server: tuple[str, ...] = SERVER) -> None:
        self.run = run
        self._done = False
        run.mkdir(mode=0o700, parents=True)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            command = keeper_command("start", str(theirs.fileno()), str(run), *server)
            self._pid = os.posix_spawn(
                command[0], command, os.environ, file_actions=_output_to(run / "log"), setsid=True
            )

    def mount(self, config: Config, secret: bytes | None = None) -> None:
        """Mount; when it returns the first look-up works. MountFailed: the keeper's line.

        `secret` is for the servers alone: it lives in a memfd that the keeper holds.
        """
        fds = [] if secret is None else [_sealed(secret)]
        try:
            socket.send_fds(self._control, [config.encode()], fds)
            reply = os.fsdecode(self._control.recv(_ANSWER_MAX))
        except ConnectionError:
            reply = ""
        finally:
            for fd in fds:
                os.close(fd)
        if reply != "ready":
            raise MountFailed(reply.removeprefix("error ") or self._last_words())
        self._done = True

    def _last_words(self) -> str:
        lines = (self.run / "log").read_text(errors="replace").splitlines() or ["no word why"]
        return f"the mount's keeper died while it started: {lines[-1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what did not become a mount. Idempotent."""
        self._control.close()
        if not self._done:
            self._done = True
            wait_gone(self._pid, _END_WITHIN)
            reap(self._pid)
            shutil.rmtree(self.run, ignore_errors=True)


def reap(pid: int) -> None:
    """Collect a keeper that this process started, if it has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _sealed(secret: bytes) -> int:
    fd = os.memfd_create("imagefs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, secret)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _output_to(log: Path) -> list[tuple[int, ...] | tuple[int, int, str, int, int]]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
