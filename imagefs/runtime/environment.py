"""The command's environment: defaults, the image's, files, options; later ones win. Sets none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from imagefs.runtime.errors import OptionError

DEFAULT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM=xterm",
)
#: What tells programs that they are in a container, as systemd-nspawn says it for OCI bundles.
MARK = {"container": "oci"}
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def parse(entries: Iterable[str], host: Mapping[str, str], where: str = "-e") -> dict[str, str]:
    """`NAME=value`; `NAME`: the host's, if it has it; `PREFIX*`: all of the host's that begin so.

    Raises OptionError for what has no name.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name.strip():
            raise OptionError(f"{where}: invalid environment variable: {entry!r} has no name")
        if equals:
            found[name] = value
        elif name.endswith("*"):
            found.update({k: v for k, v in host.items() if k.startswith(name[:-1])})
        elif name in host:
            found[name] = host[name]
    return found


def parse_file(text: str, host: Mapping[str, str], where: str) -> dict[str, str]:
    """As `parse`, an entry a line; empty lines and those that begin with # are left out."""
    lines = (line.lstrip() for line in text.splitlines())
    return parse((line for line in lines if line and not line.startswith("#")), host, where)


def proxies(host: Mapping[str, str]) -> dict[str, str]:
    """The host's proxy settings, which containers get too."""
    names = (*_PROXIES, *(name.upper() for name in _PROXIES))
    return {name: host[name] for name in names if name in host}


def merge(
    defaults: Sequence[str],
    proxy: Mapping[str, str],
    image: Sequence[str],
    options: Mapping[str, str],
    *,
    home: str,
    hostname: str,
) -> list[str]:
    """The spec's `process.env`. HOME and HOSTNAME are set where nothing else does."""
    merged = {**_pairs(defaults), **MARK, **proxy, **_pairs(image), **options}
    merged.setdefault("HOME", home)
    merged.setdefault("HOSTNAME", hostname)
    return [f"{name}={value}" for name, value in merged.items()]


def _pairs(entries: Sequence[str]) -> dict[str, str]:
    split = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in split if name}
