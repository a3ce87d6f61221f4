"""What a container's record holds: podman's names outside, what we need inside. Stores nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime.options import RunOptions
from imagefs.runtime.process import arguments, working_directory
from imagefs.runtime.spec import stop_signal_of
from imagefs.store import ContainerRecord

Status = Literal["created", "running", "exited"]


@dataclass(frozen=True)
class Wish:
    """A container to make: `name` "" for a random one; `runtime` is the runtime's path."""

    options: RunOptions
    image_name: str
    name: str = ""
    remove: bool = False
    runtime: str = ""


@dataclass(frozen=True)
class State:
    """The part of a container's life that outlasts a reboot; times in nanoseconds, 0 for never."""

    status: Status
    exit_code: int = 0
    started_ns: int = 0
    finished_ns: int = 0

    def to_record(self) -> dict[str, Any]:
        """As kept in ContainerRecord.state, under podman's names."""
        return {
            "Status": self.status,
            "Running": self.status == "running",
            "ExitCode": self.exit_code,
            "StartedAt": _time(self.started_ns),
            "FinishedAt": _time(self.finished_ns),
            "StartedNs": self.started_ns,
            "FinishedNs": self.finished_ns,
        }

    @classmethod
    def of(cls, record: ContainerRecord) -> State:
        """The state as last written down."""
        kept = record.state
        return cls(
            kept.get("Status", "created"),
            kept.get("ExitCode", 0),
            kept.get("StartedNs", 0),
            kept.get("FinishedNs", 0),
        )


def config(wish: Wish, image: RuntimeConfig, hostname: str) -> dict[str, Any]:
    """ContainerRecord.config: podman's `Config` as far as it goes, and our own under `Imagefs`."""
    options = wish.options
    return {
        "Hostname": hostname,
        "User": options.user or image.user,
        "Tty": options.terminal,
        "OpenStdin": options.interactive,
        "Cmd": arguments(image, options),
        "WorkingDir": working_directory(image, options),
        "Labels": {**(image.labels or {}), **options.labels},
        "StopSignal": stop_signal_of(image, options),
        "Imagefs": {
            "Options": msgspec.to_builtins(options),
            "Runtime": wish.runtime,
            "AutoRemove": wish.remove,
        },
    }


def command(record: ContainerRecord) -> list[str]:
    """What the container runs."""
    return [str(word) for word in record.config.get("Cmd", ())]


def runtime(record: ContainerRecord) -> str:
    """The path of the runtime that the container was made for."""
    return str(record.config["Imagefs"]["Runtime"])


def options(record: ContainerRecord) -> RunOptions:
    """The options that the container was made with."""
    return msgspec.convert(record.config["Imagefs"]["Options"], RunOptions)


def _time(nanoseconds: int) -> str:
    """RFC 3339 in UTC; Go's zero time where it never was."""
    if not nanoseconds:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
