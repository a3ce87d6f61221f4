"""runc under conmon: each container has a monitor that outlives us. Relays no output itself.

conmon(8) makes the container by calling the runtime, keeps its output in a log, serves it at the
socket `attach` in the bundle, and writes the exit status when all has ended. It tells how the
creation went over a pipe (`_OCI_SYNCPIPE`) once it is let go by another (`_OCI_STARTPIPE`).
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from imagefs.runtime.containersconf import ContainersConf
from imagefs.runtime.driver import Bundle, State, explain
from imagefs.runtime.errors import ContainerStateError, OptionError, RuntimeFailed, RuntimeMissing
from imagefs.runtime.ociruntime import OciRuntime, said

LOG = "ctr.log"
_EXIT = "exit"
_MONITOR_PID = "conmon.pid"
_MONITOR_LOG = "conmon.log"
_SECONDS_TO_DIE = 10.0


class _Sync(msgspec.Struct, frozen=True):
    """What conmon says over the sync pipe: a pid, or -1 and why."""

    pid: int = msgspec.field(name="pid", default=-1)
    data: int = -1
    message: str = ""


@dataclass(frozen=True)
class Logging:
    """containers.conf's log settings, in conmon's words."""

    driver: str = "k8s-file"
    size_max: int = -1
    tag: str = ""

    @classmethod
    def from_conf(cls, conf: ContainersConf, driver: str | None = None) -> Logging:
        """The settings, with --log-driver going first; raises OptionError."""
        wanted = driver or conf.containers.log_driver or "k8s-file"
        if wanted not in ("k8s-file", "json-file", "journald", "none"):
            raise OptionError(
                f"log driver {wanted!r}: not supported: use k8s-file, journald or none"
            )
        known = "k8s-file" if wanted == "json-file" else wanted
        return cls(known, conf.containers.log_size_max, conf.containers.log_tag)

    def arguments(self, path: Path) -> list[str]:
        """conmon's options for it."""
        place = {"k8s-file": f"k8s-file:{path}", "journald": "journald:", "none": "none"}
        found = ["--log-path", place[self.driver]]
        if self.driver == "k8s-file" and self.size_max > 0:
            found += ["--log-size-max", str(self.size_max)]
        if self.driver == "journald" and self.tag:
            found += ["--log-tag", self.tag]
        return found


@dataclass(frozen=True)
class ConmonDriver:
    """A RuntimeDriver: `runtime` makes the containers, a `conmon` each watches them."""

    runtime: OciRuntime
    conmon: Path
    logging: Logging = Logging()
    environment: Sequence[str] = field(default=())

    def create(self, bundle: Bundle) -> None:
        """See RuntimeDriver. The monitor is no child of ours once this returns."""
        if self.state(bundle) != "absent":
            raise ContainerStateError(f"container {bundle.container_id[:12]}: it exists already")
        (bundle.lasting / _EXIT).unlink(missing_ok=True)
        answer = self._launch(bundle)
        if answer.pid < 0 and answer.data < 0:
            self._forget(bundle)
            complaint = said(answer.message) or said(_text(bundle.directory / _MONITOR_LOG))
            raise explain(self.runtime.name, complaint)

    def start(self, bundle: Bundle) -> None:
        """See RuntimeDriver."""
        self.runtime.call("start", bundle.container_id)

    def state(self, bundle: Bundle) -> State:
        """See RuntimeDriver. Its runtime state outlives neither `delete` nor a reboot."""
        if not self.runtime.knows(bundle.container_id):
            return "absent"
        if exit_code(bundle) is not None:
            return "stopped"
        status = self.runtime.status(bundle.container_id)
        if status is None:
            return "absent"
        if status == "created":
            return "created"
        return "stopped" if status == "stopped" else "running"

    def kill(self, bundle: Bundle, signal: int) -> None:
        """See RuntimeDriver."""
        try:
            self.runtime.call("kill", bundle.container_id, str(signal))
        except (RuntimeFailed, OSError):
            if self.state(bundle) in ("created", "running"):
                raise
            raise ContainerStateError(
                f"container {bundle.container_id[:12]}: it is not running"
            ) from None

    def wait(self, bundle: Bundle, timeout: float | None = None) -> int | None:
        """See RuntimeDriver. RuntimeFailed if the monitor ended without saying how."""
        if (code := exit_code(bundle)) is not None:
            return code
        monitor = _monitor(bundle)
        if monitor is not None:
            with contextlib.closing(monitor):
                if not _ended(monitor, timeout):
                    return None
        code = exit_code(bundle)
        if code is None:
            raise RuntimeFailed(
                f"container {bundle.container_id[:12]}: its monitor (conmon) died, so the exit "
                "status is lost"
            )
        return code

    def delete(self, bundle: Bundle, *, force: bool = False) -> None:
        """See RuntimeDriver. Waits for the monitor to end, so that nothing more is written."""
        state = self.state(bundle)
        if state == "running" and not force:
            raise ContainerStateError(
                f"container {bundle.container_id[:12]}: it is running: stop it first, or force"
            )
        if state != "absent":
            self.runtime.call("delete", *(["--force"] if force else []), bundle.container_id)
        monitor = _monitor(bundle)
        if monitor is not None:
            with contextlib.closing(monitor):
                if not _ended(monitor, _SECONDS_TO_DIE):
                    raise RuntimeFailed(
                        f"container {bundle.container_id[:12]}: its monitor (conmon) does not end"
                    )
        self._forget(bundle)

    def _launch(self, bundle: Bundle) -> _Sync:
        """Start a monitor and have it create the container; what it said about that."""
        sync, sync_there = os.pipe()
        start_there, start = os.pipe()
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(open(sync, "rb"))
            go = stack.enter_context(open(start, "wb", buffering=0))
            log = stack.enter_context(open(bundle.directory / _MONITOR_LOG, "wb"))
            try:
                monitor = subprocess.Popen(
                    self._arguments(bundle),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment(sync_there, start_there),
                    pass_fds=(sync_there, start_there),
                    start_new_session=True,
                )
            except OSError as error:
                raise RuntimeMissing(f"{self.conmon}: cannot be run: {error.strerror}") from None
            finally:
                os.close(sync_there)
                os.close(start_there)
            # It goes on in a child once it is let go; if it ended before, it says why in its log.
            with contextlib.suppress(BrokenPipeError):
                go.write(b"\0")
            monitor.wait()
            return _parsed(answer.readline())

    def _arguments(self, bundle: Bundle) -> list[str]:
        found = [
            *(str(self.conmon), "--api-version", "1"),
            *("--cid", bundle.container_id, "--cuuid", bundle.container_id),
            *("--name", bundle.name),
            *("--runtime", str(self.runtime.path)),
            *("--bundle", str(bundle.directory), "--full-attach"),
            *("--persist-dir", str(bundle.lasting)),
            *("--container-pidfile", str(bundle.directory / "pid")),
            *("--conmon-pidfile", str(bundle.directory / _MONITOR_PID)),
            *self.logging.arguments(bundle.lasting / LOG),
            *("--no-sync-log", "--log-level", "error"),
        ]
        for argument in [*self.runtime.arguments, "--log-format=json"]:
            found += ["--runtime-arg", argument]
        if bundle.terminal:
            found.append("--terminal")
        if bundle.stdin:
            found.append("--stdin")
        return found

    def _environment(self, sync: int, start: int) -> dict[str, str]:
        pairs = (entry.partition("=") for entry in self.environment)
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            **{k: v for k, v in os.environ.items() if k in ("XDG_RUNTIME_DIR", "TMPDIR")},
            **{name: value for name, _, value in pairs},
            "_OCI_SYNCPIPE": str(sync),
            "_OCI_STARTPIPE": str(start),
        }

    def _forget(self, bundle: Bundle) -> None:
        for name in ("attach", "ctl", "winsz", "pid", _MONITOR_PID):
            (bundle.directory / name).unlink(missing_ok=True)


def exit_code(bundle: Bundle) -> int | None:
    """The exit status that the monitor wrote; None while there is none."""
    text = _text(bundle.lasting / _EXIT).strip()
    return int(text) if text.isdecimal() else None


def _parsed(line: bytes) -> _Sync:
    try:
        return msgspec.json.decode(line, type=_Sync)
    except msgspec.MsgspecError:
        return _Sync(message=line.decode(errors="replace"))


class _Descriptor:
    """A pidfd that can be closed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        os.close(self.fd)


def _monitor(bundle: Bundle) -> _Descriptor | None:
    """The container's monitor; None if it has ended. Its pid may be another process's by now."""
    text = _text(bundle.directory / _MONITOR_PID).strip()
    if not text.isdecimal():
        return None
    try:
        found = _Descriptor(os.pidfd_open(int(text)))
    except ProcessLookupError:
        return None
    command = _text(Path(f"/proc/{text}/cmdline"))
    if bundle.container_id in command:
        return found
    found.close()
    return None


def _ended(monitor: _Descriptor, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(monitor.fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
