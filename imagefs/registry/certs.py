"""TLS settings of a registry from certs.d (containers-certs.d(5)). Opens no sockets."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from imagefs.registry.errors import ConfigError


def cert_dirs(host: str, env: Mapping[str, str]) -> list[Path]:
    """Where certificates of `host` (HOST[:PORT]) may be; the first that exists counts."""
    home = env.get("HOME")
    config = env.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    bases = [Path(config) / "containers/certs.d"] if config else []
    bases += [Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d")]
    return [base / host for base in bases]


def find_cert_dir(host: str, named: Path | None, env: Mapping[str, str]) -> Path | None:
    """--cert-dir (which must exist) or the first directory of certs.d; raises ConfigError."""
    if named is not None:
        if not named.is_dir():
            raise ConfigError(f"--cert-dir {named}: no such directory")
        return named
    for path in cert_dirs(host, env):
        try:
            if path.is_dir():
                return path
        except PermissionError:
            continue
    return None


def tls_context(directory: Path | None, verify: bool) -> ssl.SSLContext:
    """A client context: system CAs, `*.crt` as further CAs, `*.cert` with `*.key` to show.

    Raises ConfigError naming the file that cannot be used.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if directory is None:
        return context
    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(cafile=path)
            elif path.suffix == ".cert":
                key = path.with_suffix(".key")
                if not key.exists():
                    raise ConfigError(f"{path}: its key {key.name} is missing")
                context.load_cert_chain(path, key)
            elif path.suffix == ".key" and not path.with_suffix(".cert").exists():
                raise ConfigError(f"{path}: its certificate {path.stem}.cert is missing")
        except (ssl.SSLError, OSError) as error:
            reason = error.strerror or "not a PEM certificate or key"
            raise ConfigError(f"{path}: {reason}") from None
    return context
