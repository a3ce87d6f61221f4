"""`commit --change`: Dockerfile instructions applied to an image config. Runs nothing.

The instructions are podman-commit(1)'s: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL,
USER, VOLUME, WORKDIR; their forms are the Dockerfile reference's.
"""

from __future__ import annotations

import posixpath
import re
import shlex
import signal
from collections.abc import Callable
from typing import Any

import msgspec

from imagefs.errors import InvalidInputError
from imagefs.oci.config import ImageConfig

_SIGNAL_NAMES = frozenset(s.name for s in signal.Signals)
_LAST_SIGNAL = 64
_SIGNAL = re.compile(
    r"(?P<number>[0-9]{1,2})|SIGRTMIN\+[0-9]{1,2}|SIGRTMAX-[0-9]{1,2}|(?P<name>SIG[A-Z0-9]+)"
)
#: Without an argument these set nothing to run.
_MAY_BE_EMPTY = ("CMD", "ENTRYPOINT")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")


class ChangeError(InvalidInputError):
    """An instruction that is unknown or malformed."""


def apply_change(config: ImageConfig, instruction: str) -> ImageConfig:
    """`config` with one instruction applied, such as `CMD ["python3"]` or `ENV A=b`.

    Also `KEY=VALUE` with the instruction as key, as podman takes. Raises ChangeError.
    """
    found = re.match(r"\s*([A-Za-z]+)(?:\s+|=)(.*)", instruction, re.DOTALL)
    apply = _INSTRUCTIONS.get(found[1].upper()) if found else None
    if found is None or apply is None:
        known = ", ".join(_INSTRUCTIONS)
        raise ChangeError(f"--change {instruction!r}: not one of {known}")
    rest = found[2].strip()
    if not rest and found[1].upper() not in _MAY_BE_EMPTY:
        raise ChangeError(f"--change {instruction!r}: {found[1].upper()} needs an argument")
    try:
        return apply(config, rest)
    except ValueError as error:
        raise ChangeError(f"--change {instruction!r}: {error}") from None


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        return None


def _command(field: str) -> Callable[[ImageConfig, str], ImageConfig]:
    def apply(config: ImageConfig, text: str) -> ImageConfig:
        words = _json_list(text) if text else []
        shell = list(config.config.shell or ("/bin/sh", "-c"))
        return config.with_config({field: words if words is not None else [*shell, text]})

    return apply


def _text(field: str) -> Callable[[ImageConfig, str], ImageConfig]:
    def apply(config: ImageConfig, text: str) -> ImageConfig:
        return config.with_config({field: _unquoted(text)})

    return apply


def _unquoted(text: str) -> str:
    words = shlex.split(text)
    if len(words) != 1:
        raise ValueError("expected one word")
    return words[0]


def _pairs(text: str) -> dict[str, str]:
    """`K=V K2="V 2"`, or the old form `K the rest`."""
    words = shlex.split(text)
    if "=" not in words[0]:
        key, *rest = text.split(None, 1)
        if not rest:
            raise ValueError("expected KEY=VALUE")
        return {key: rest[0]}
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} is not KEY=VALUE (quote a value that has spaces)")
        pairs[key] = value
    return pairs


def _env(config: ImageConfig, text: str) -> ImageConfig:
    env = dict(item.partition("=")[::2] for item in config.config.env or ())
    env.update(_pairs(text))
    return config.with_config({"Env": [f"{key}={value}" for key, value in env.items()]})


def _label(config: ImageConfig, text: str) -> ImageConfig:
    return config.with_config({"Labels": {**(config.config.labels or {}), **_pairs(text)}})


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    ports: dict[str, Any] = dict(config.config.exposed_ports or {})
    for word in shlex.split(text):
        found = _PORT.fullmatch(word.lower())
        if not found:
            raise ValueError(f"{word!r} is not PORT[-PORT][/PROTOCOL]")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 0 < first <= last < 1 << 16:
            raise ValueError(f"{word!r} is no range of ports")
        for port in range(first, last + 1):
            ports[f"{port}/{found[3] or 'tcp'}"] = {}
    return config.with_config({"ExposedPorts": ports})


def _volume(config: ImageConfig, text: str) -> ImageConfig:
    words = _json_list(text)
    names = words if words is not None else shlex.split(text)
    if not names or not all(names):
        raise ValueError("expected paths")
    volumes = {**(config.config.volumes or {}), **{name: {} for name in names}}
    return config.with_config({"Volumes": volumes})


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    words = shlex.split(text)
    directory = words[0] if len(words) == 1 else text  # spaces need no quotes, but may have them
    path = posixpath.normpath(posixpath.join("/", config.config.working_dir, directory))
    return config.with_config({"WorkingDir": "/" + path.lstrip("/")})


def _stopsignal(config: ImageConfig, text: str) -> ImageConfig:
    name = _unquoted(text).upper()
    name = name if name.isdecimal() or name.startswith("SIG") else f"SIG{name}"
    found = _SIGNAL.fullmatch(name)
    known = found and (found["number"] is None or 0 < int(found["number"]) <= _LAST_SIGNAL)
    if not known or (found and found["name"] and found["name"] not in _SIGNAL_NAMES):
        raise ValueError(f"{text!r} is no signal")
    return config.with_config({"StopSignal": name})


def _onbuild(config: ImageConfig, text: str) -> ImageConfig:
    return config.with_config({"OnBuild": [*(config.config.on_build or ()), text]})


_INSTRUCTIONS: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _text("User"),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
