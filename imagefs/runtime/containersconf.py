"""containers.conf(5): what it sets of running containers. Writes nothing; ignores other settings.

Later files go before earlier ones, setting by setting: /usr/share/containers/containers.conf,
/etc/containers/containers.conf, its containers.conf.d/*.conf by name, and without privileges the
user's own of both kinds. CONTAINERS_CONF names the only file to read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from imagefs.runtime.errors import OptionError

T = TypeVar("T")

_RUNTIME_PATHS = {
    name: tuple(
        f"{directory}/{name}"
        for directory in (
            "/usr/bin",
            "/usr/sbin",
            "/usr/local/bin",
            "/usr/local/sbin",
            "/sbin",
            "/bin",
        )
    )
    for name in ("runc", "crun")
}
_CONMON_PATHS = (
    "/usr/libexec/podman/conmon",
    "/usr/local/libexec/podman/conmon",
    "/usr/local/lib/podman/conmon",
    "/usr/bin/conmon",
    "/usr/sbin/conmon",
    "/usr/local/bin/conmon",
    "/usr/local/sbin/conmon",
)


class _Containers(msgspec.Struct, frozen=True):
    annotations: tuple[str, ...] = ()
    default_capabilities: tuple[str, ...] | None = None
    default_sysctls: tuple[str, ...] = ()
    default_ulimits: tuple[str, ...] = ()
    env: tuple[str, ...] | None = None
    env_host: bool = False
    http_proxy: bool = True
    log_driver: str = ""
    log_size_max: int = -1
    log_tag: str = ""
    no_hosts: bool = False
    pids_limit: int = 2048
    seccomp_profile: str = ""
    shm_size: str = "65536k"
    umask: str = "0022"
    volumes: tuple[str, ...] = ()


class _Engine(msgspec.Struct, frozen=True):
    runtime: str = ""
    runtimes: dict[str, tuple[str, ...]] = {}
    conmon_path: tuple[str, ...] = ()
    conmon_env_vars: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True):
    containers: _Containers = _Containers()
    engine: _Engine = _Engine()


@dataclass(frozen=True)
class ContainersConf:
    """The settings, defaults filled in. `containers` and `engine` are the file's tables."""

    containers: _Containers = field(default_factory=_Containers)
    engine: _Engine = field(default_factory=_Engine)

    @property
    def runtime(self) -> str:
        """The runtime's name; Debian's runc where nothing is said."""
        return self.engine.runtime or "runc"

    def runtime_paths(self, name: str) -> tuple[str, ...]:
        """Where a runtime of that name may be, the best place first."""
        return self.engine.runtimes.get(name) or _RUNTIME_PATHS.get(name, ())

    @property
    def conmon_paths(self) -> tuple[str, ...]:
        """Where conmon may be, the best place first."""
        return (*self.engine.conmon_path, *_CONMON_PATHS)


def parse(texts: Mapping[str, str]) -> ContainersConf:
    """The settings in files by name, in the order of reading; OptionError names the bad file."""
    merged: dict[str, dict[str, Any]] = {"containers": {}, "engine": {}}
    found = _File()
    for name, text in texts.items():
        try:
            document = tomllib.loads(text)
            for table, settings in merged.items():
                _merge(settings, msgspec.convert(document.get(table, {}), dict[str, Any]))
            found = msgspec.convert(merged, _File)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise OptionError(f"{name}: not a valid containers.conf: {error}") from None
    return ContainersConf(found.containers, found.engine)


def load(environment: Mapping[str, str], *, privileged: bool) -> ContainersConf:
    """The settings of this host; raises OptionError."""
    texts = {}
    for path in files(environment, privileged=privileged):
        try:
            texts[str(path)] = path.read_text("utf-8")
        except FileNotFoundError:
            if "CONTAINERS_CONF" in environment:
                raise OptionError(f"CONTAINERS_CONF: {path}: no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{path}: cannot be read: {error}") from None
    return parse(texts)


def files(environment: Mapping[str, str], *, privileged: bool) -> list[Path]:
    """The files to read, in order; some may not be there."""
    if only := environment.get("CONTAINERS_CONF"):
        return [Path(only)]
    found = [Path("/usr/share/containers/containers.conf")]
    found += _with_drop_ins(Path("/etc/containers"))
    if not privileged:
        home = environment.get("XDG_CONFIG_HOME") or environment.get("HOME", "/") + "/.config"
        found += _with_drop_ins(Path(home, "containers"))
    return found


def _with_drop_ins(directory: Path) -> list[Path]:
    drop_ins = sorted((directory / "containers.conf.d").glob("*.conf"))
    return [directory / "containers.conf", *drop_ins]


def _merge(into: dict[str, Any], table: dict[str, Any]) -> None:
    for name, value in table.items():
        old = into.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            into[name] = {**old, **value}
        elif isinstance(value, list):
            # A table in a list says how it joins with what earlier files have there.
            append = any(isinstance(item, dict) and item.get("append") is True for item in value)
            words = [item for item in value if not isinstance(item, dict)]
            into[name] = [*old, *words] if append and isinstance(old, list) else words
        else:
            into[name] = value
