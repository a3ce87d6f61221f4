"""From the words of `run`'s options to RunOptions. Opens only the files that options name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagefs.runtime.options import RunOptions


def run_options(
    command: tuple[str, ...], given: Mapping[str, Any], host: Mapping[str, str], directory: Path
) -> RunOptions:
    """The checked options; `host` is our environment, relative paths are from `directory`.

    Raises OptionError.
    """
    from imagefs.runtime import environment, options
    from imagefs.runtime.rlimits import parse_ulimit
    from imagefs.runtime.volumes import parse_tmpfs, parse_volume

    variables: dict[str, str] = {}
    for name in given["env_file"]:
        variables |= environment.parse_file(_text(name, "--env-file"), host, name)
    variables |= environment.parse(given["env"], host)
    ulimits = _split(given["ulimit"])
    for limit in ulimits:
        if limit != "host":
            parse_ulimit(limit)
    size, signal, entrypoint = given["shm_size"], given["stop_signal"], given["entrypoint"]
    security = options.parse_security(given["security_opt"])
    return options.RunOptions(
        command=command,
        entrypoint=None if entrypoint is None else options.parse_entrypoint(entrypoint),
        interactive=given["interactive"],
        terminal=given["tty"],
        env=variables,
        env_host=given["env_host"],
        http_proxy=given["http_proxy"],
        volumes=tuple(parse_volume(text, directory) for text in given["volume"]),
        tmpfs=tuple(parse_tmpfs(text) for text in given["tmpfs"]),
        workdir=given["workdir"] or None,
        user=given["user"],
        hostname=options.parse_hostname(given["hostname"]) if given["hostname"] else None,
        read_only=given["read_only"],
        read_only_tmpfs=given["read_only_tmpfs"],
        network=options.parse_network(given["network"]),
        labels=_labels(given, host),
        annotations=_pairs(given["annotation"], "--annotation", required=True),
        cap_add=_split(given["cap_add"]),
        cap_drop=_split(given["cap_drop"]),
        privileged=given["privileged"],
        security=security,
        ulimits=ulimits,
        shm_size=None if size is None else options.parse_size(size, "--shm-size"),
        stop_signal=None if signal is None else options.parse_signal(signal),
        oom_score_adj=given["oom_score_adj"],
        pids_limit=given["pids_limit"],
    )


def _labels(given: Mapping[str, Any], host: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in given["label_file"]:
        lines = (line.strip() for line in _text(name, "--label-file").splitlines())
        found |= _pairs((line for line in lines if line and line[0] != "#"), name)
    return found | _pairs(given["label"], "--label")


def _pairs(entries: Iterable[str], where: str, *, required: bool = False) -> dict[str, str]:
    from imagefs.runtime.errors import OptionError

    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name or (required and not equals):
            raise OptionError(f"{where} {entry!r}: not of the form KEY=VALUE")
        found[name] = value
    return found


def _split(entries: Iterable[str]) -> tuple[str, ...]:
    """Values of options that also take several with commas between."""
    return tuple(word for entry in entries for word in entry.split(",") if word)


def _text(name: str, option: str) -> str:
    from imagefs.runtime.errors import OptionError

    try:
        return Path(name).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise OptionError(f"{option} {name}: {error.strerror}") from None
