"""What runs containers, behind one small Protocol: runc under conmon, later a VM. Mounts nothing.

A container is absent, created, running or stopped:

    absent -create-> created -start-> running -(its process ends)-> stopped -delete-> absent

`kill` leaves the change to the process; `delete` with force goes from any state to absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from imagefs.runtime.errors import CannotInvoke, CommandNotFound, RuntimeFailed

State = Literal["absent", "created", "running", "stopped"]


@dataclass(frozen=True)
class Bundle:
    """A container to create: `directory` holds config.json and gets what lasts while it is there
    (sockets, pid files); `lasting` gets its log and, when it ends, its exit status.
    """

    container_id: str
    name: str
    directory: Path
    lasting: Path
    terminal: bool = False
    stdin: bool = False


class RuntimeDriver(Protocol):
    """The life of containers; errors are RuntimeFailed unless they say more."""

    def create(self, bundle: Bundle) -> None:
        """Make the container; its process waits for `start`.

        On failure nothing is left but files in the bundle: CommandNotFound, CannotInvoke,
        ContainerStateError if it is there already.
        """

    def start(self, bundle: Bundle) -> None:
        """Let the process of a created container go."""

    def state(self, bundle: Bundle) -> State:
        """Where in its life the container is."""

    def kill(self, bundle: Bundle, signal: int) -> None:
        """Send a signal to the container's first process; ContainerStateError if there is none."""

    def wait(self, bundle: Bundle, timeout: float | None = None) -> int | None:
        """The exit status (128 + N after signal N) of a container that was started, once it ended.

        None if it has not within `timeout` seconds; None as timeout waits for ever. It may be asked
        again until the container is deleted.
        """

    def delete(self, bundle: Bundle, *, force: bool = False) -> None:
        """Remove what the runtime keeps of a container that is not running. Idempotent.

        ContainerStateError if it is running; with `force` it is killed.
        """


def explain(runtime: str, output: str) -> RuntimeFailed | CannotInvoke | CommandNotFound:
    """The error for what a runtime said when it failed; the exit codes are podman's."""
    message = " ".join(output.split()).strip() or "it failed and said nothing"
    lower = message.lower()
    text = f"{runtime}: {message}"
    if "executable file not found in" in lower or "no such file or directory" in lower:
        return CommandNotFound(f"{text}: the command was not found in the container")
    if "permission denied" in lower or "operation not permitted" in lower:
        return CannotInvoke(f"{text}: the command cannot be invoked")
    return RuntimeFailed(text)
