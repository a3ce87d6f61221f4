"""Finds and reads registries.conf with its drop-ins. The only module that opens them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from imagefs.registry.access import Access
from imagefs.registry.conf import RegistriesConf
from imagefs.registry.errors import ConfigError

_SYSTEM = Path("/etc/containers")
_LIMIT = 4 << 20


def load_registries_conf(access: Access, env: Mapping[str, str]) -> RegistriesConf:
    """The merged configuration; a missing file is an empty one, unless it was named.

    CONTAINERS_REGISTRIES_CONF names the main file, CONTAINERS_REGISTRIES_CONF_DIR the drop-ins; a
    user's own registries.conf takes the place of the system's, drop-ins included.
    """
    conf = RegistriesConf()
    for path, required in _files(access, env):
        raw = read_config(path, "file (registries.conf)" if required else "")
        if raw is not None:
            conf = conf.merged(raw, str(path))
    return conf


def _files(access: Access, env: Mapping[str, str]) -> list[tuple[Path, bool]]:
    user = user_directory(env)
    named = access.registries_conf or _path(env.get("CONTAINERS_REGISTRIES_CONF"))
    directories = [_SYSTEM / "registries.conf.d"]
    if user is not None:
        directories.append(user / "registries.conf.d")
    if named is not None:
        main = [(named, True)]
    elif user is not None and (user / "registries.conf").exists():
        main = [(user / "registries.conf", False)]
        directories = [user / "registries.conf.d"]
    else:
        main = [(_SYSTEM / "registries.conf", False)]
    if drop_ins := env.get("CONTAINERS_REGISTRIES_CONF_DIR"):
        directories = [Path(drop_ins)]
    return main + [(path, False) for directory in directories for path in _drop_ins(directory)]


def user_directory(env: Mapping[str, str]) -> Path | None:
    """Where the user's own configuration of containers lies; None without a home."""
    home = env.get("HOME")
    config = env.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    return Path(config) / "containers" if config else None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _drop_ins(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == ".conf")
    except OSError:
        return []


def read_config(path: Path, required: str = "") -> bytes | None:
    """The bytes of a configuration file; raises ConfigError.

    None where there is none, unless it is `required`: what the error then says it should be.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"{path}: no such {required}") from None
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from None
    if len(raw) > _LIMIT:
        raise ConfigError(f"{path}: larger than {_LIMIT} bytes")
    return raw
