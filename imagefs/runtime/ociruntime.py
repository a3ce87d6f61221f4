"""The command line of runc and of what takes the same: crun and others. Makes no container itself.

runc(8); the state it keeps lies under `root`, so stores do not see each other's containers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from imagefs.runtime.containersconf import ContainersConf
from imagefs.runtime.driver import explain
from imagefs.runtime.errors import RuntimeFailed, RuntimeMissing


class _State(msgspec.Struct, frozen=True):
    status: str
    pid: int = 0


class _LogLine(msgspec.Struct, frozen=True):
    msg: str = ""
    level: str = ""


class OciRuntime:
    """A runtime at `path` that keeps its state in `root`, with cgroups by the cgroupfs manager."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.root = root
        self.name = path.name

    @property
    def arguments(self) -> list[str]:
        """The global options of every call."""
        return ["--root", str(self.root)]

    def call(self, *arguments: str) -> str:
        """The output of `path ARGUMENTS`; raises what `explain` makes of its complaint."""
        done = self._run(arguments)
        if done.returncode != 0:
            raise explain(self.name, said(done.stderr))
        return done.stdout

    def knows(self, container_id: str) -> bool:
        """Whether it keeps anything of the id. It need not be asked, and may be broken."""
        return (self.root / container_id).exists()

    def status(self, container_id: str) -> str | None:
        """The container's status by the runtime's own words; None if it knows none of the id."""
        done = self._run(["state", container_id])
        if done.returncode != 0:
            if "does not exist" in done.stderr or "No such file" in done.stderr:
                return None
            raise explain(self.name, said(done.stderr))
        try:
            return msgspec.json.decode(done.stdout, type=_State).status
        except msgspec.MsgspecError as error:
            raise RuntimeFailed(f"{self.name} state: unreadable answer: {error}") from None

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [str(self.path), *self.arguments, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                # A Ctrl-C at the terminal is for us to pass on.
                start_new_session=True,
            )
        except OSError as error:
            raise RuntimeMissing(f"{self.path}: cannot be run: {error.strerror}") from None


def said(output: str) -> str:
    """The complaint in what a runtime wrote: its last error, without the log line around it."""
    lines = [line for line in output.splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            logged = msgspec.json.decode(line, type=_LogLine)
        except msgspec.MsgspecError:
            continue
        if logged.level in ("error", "fatal") and logged.msg:
            return logged.msg
    return lines[-1] if lines else ""


def find_runtime(name: str | None, conf: ContainersConf, search: str) -> Path:
    """The runtime that --runtime or containers.conf means; a path is taken as it is.

    `search` is PATH, the last place that is looked in. Raises RuntimeMissing.
    """
    wanted = name or conf.runtime
    if "/" in wanted:
        return _executable([wanted], wanted, "give --runtime the path of a runtime")
    hint = f"install the package {wanted}, or say which with --runtime"
    return _executable([*conf.runtime_paths(wanted), *_on_path(wanted, search)], wanted, hint)


def find_conmon(conf: ContainersConf, search: str) -> Path:
    """Where conmon is; raises RuntimeMissing."""
    return _executable(
        [*conf.conmon_paths, *_on_path("conmon", search)], "conmon", "install the package conmon"
    )


def _on_path(name: str, search: str) -> list[str]:
    found = shutil.which(name, path=search)
    return [found] if found else []


def _executable(candidates: Sequence[str], name: str, hint: str) -> Path:
    for candidate in candidates:
        path = Path(candidate)
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise RuntimeMissing(f'OCI runtime or monitor "{name}" not found: {hint}')
