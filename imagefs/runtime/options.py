"""What a user asks of a container, as one checked value, and the small parsers for it. Pure.

The command line, and later a build or a pod, fill this in; `imagefs.runtime.spec` reads it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from imagefs.runtime.errors import OptionError
from imagefs.runtime.volumes import Tmpfs, Volume

Network = Literal["host", "none"]

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d+)\s*([bkmg]?)b?", re.IGNORECASE)
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?")


@dataclass(frozen=True)
class SecurityOptions:
    """`--security-opt`: what it changes of podman's defaults.

    `seccomp`: a profile's path, "unconfined", or None for the default. `unmask_all` lifts all
    masked and read-only paths.
    """

    seccomp: str | None = None
    no_new_privileges: bool = False
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    unmask_all: bool = False
    proc_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunOptions:
    """The options of `run`; None or empty where the image, containers.conf or podman decide.

    `entrypoint` () clears the image's. `env` is complete: names taken from the host are filled in.
    """

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    interactive: bool = False
    terminal: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    env_host: bool = False
    http_proxy: bool | None = None
    volumes: tuple[Volume, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    workdir: str | None = None
    user: str | None = None
    hostname: str | None = None
    read_only: bool = False
    read_only_tmpfs: bool = True
    network: Network = "host"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security: SecurityOptions = SecurityOptions()
    ulimits: tuple[str, ...] = ()
    shm_size: int | None = None
    stop_signal: int | None = None
    oom_score_adj: int | None = None
    pids_limit: int | None = None


def parse_size(text: str, option: str) -> int:
    """Bytes in `number[b|k|m|g]`; raises OptionError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise OptionError(f"{option} {text}: not a size: a number with b, k, m or g")
    return int(found[1]) * _UNITS[found[2].lower()]


def parse_signal(text: str) -> int:
    """The number of a signal given by number or by name, with SIG or without; OptionError."""
    name = text.strip().upper()
    if name.isdecimal() and 0 < int(name) < signal.NSIG:
        return int(name)
    name = name.removeprefix("SIG")
    offset = re.fullmatch(r"RTMIN\+(\d{1,2})", name)
    if offset and signal.SIGRTMIN + int(offset[1]) <= signal.SIGRTMAX:
        return signal.SIGRTMIN + int(offset[1])
    if f"SIG{name}" not in signal.Signals.__members__:
        raise OptionError(f"{text!r} is not a signal")
    return int(signal.Signals[f"SIG{name}"])


def parse_entrypoint(text: str) -> tuple[str, ...]:
    """A command, or a JSON list of a command and its arguments; "" clears the image's."""
    if not text:
        return ()
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text, type=tuple[str, ...])
        except msgspec.MsgspecError:
            pass  # as podman: then it is a command that begins with a bracket
    return (text,)


def parse_hostname(text: str) -> str:
    """A host name of at most 64 characters; raises OptionError."""
    if not _HOSTNAME.fullmatch(text):
        raise OptionError(f"--hostname {text!r}: not a host name")
    return text


def parse_network(text: str) -> Network:
    """`host` or `none`; OptionError for podman's others."""
    if text in ("host", "none"):
        return "host" if text == "host" else "none"
    raise OptionError(f"--network {text}: not supported: only 'host' and 'none' are")


def parse_security(options: tuple[str, ...]) -> SecurityOptions:
    """The values of `--security-opt`; raises OptionError."""
    found = SecurityOptions()
    for option in options:
        # Docker once wrote a colon, and podman takes it still.
        separator = "=" if "=" in option else ":"
        name, _, value = option.partition(separator)
        found = _with_security(found, option, name, value)
    return found


def _with_security(found: SecurityOptions, option: str, name: str, value: str) -> SecurityOptions:
    if name == "no-new-privileges":
        return replace(found, no_new_privileges=value.lower() not in ("false", "0"))
    if name == "seccomp" and value:
        return replace(found, seccomp=value)
    if name == "mask" and value:
        return replace(found, mask=(*found.mask, *value.split(":")))
    if name == "unmask" and value:
        if value.upper() == "ALL":
            return replace(found, unmask_all=True)
        return replace(found, unmask=(*found.unmask, *value.split(":")))
    if name == "proc-opts" and value:
        return replace(found, proc_options=tuple(value.split(",")))
    if (name, value) in (("label", "disable"), ("apparmor", "unconfined")):
        return found
    if name in ("label", "apparmor", "systempaths"):
        raise OptionError(f"--security-opt {option}: not supported")
    raise OptionError(f"--security-opt {option}: invalid")
