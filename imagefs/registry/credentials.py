"""Finds credentials: --creds, auth files, credential helpers, in podman's order. Asks no registry.

Secrets stay in Credentials objects, whose repr is empty; messages name files and helpers only.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import trio

from imagefs.registry.access import Access, Credentials
from imagefs.registry.authfile import LIMIT, AuthFile
from imagefs.registry.errors import ConfigError, HelperError
from imagefs.registry.fields import one_line

HELPER_TIMEOUT = 30.0
_HELPER_OUTPUT = 1 << 20


def auth_file_to_write(access: Access, env: Mapping[str, str]) -> Path:
    """Where login writes: --authfile, REGISTRY_AUTH_FILE, or the runtime directory's auth.json."""
    if access.authfile is not None:
        return access.authfile
    if named := env.get("REGISTRY_AUTH_FILE"):
        return Path(named)
    runtime = env.get("XDG_RUNTIME_DIR")
    return Path(runtime or f"/run/containers/{os.getuid()}") / (
        "containers/auth.json" if runtime else "auth.json"
    )


def auth_files(access: Access, env: Mapping[str, str]) -> list[tuple[Path, bool]]:
    """The files to read, first match wins, each with whether it must exist."""
    if access.authfile is not None:
        return [(access.authfile, True)]
    if named := env.get("REGISTRY_AUTH_FILE"):
        return [(Path(named), True)]
    found = [(auth_file_to_write(access, env), False)]
    home = env.get("HOME")
    config = env.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    if config:
        found.append((Path(config) / "containers/auth.json", False))
    docker = env.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else None)
    if docker:
        found.append((Path(docker) / "config.json", False))
    return found


def read_auth_file(path: Path, required: bool) -> AuthFile:
    """The file, or an empty one where it is missing and not `required`; raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(
                f"{path}: no such auth file (log in first, or see --authfile)"
            ) from None
        return AuthFile(str(path))
    except OSError as error:
        if isinstance(error, PermissionError) and not required:
            return AuthFile(str(path))
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from None
    if len(raw) > LIMIT:
        raise ConfigError(f"{path}: larger than {LIMIT} bytes")
    return AuthFile.parse(raw, str(path))


async def find_credentials(access: Access, key: str, env: Mapping[str, str]) -> Credentials | None:
    """Credentials for `key` (HOST/REPOSITORY); None: anonymous. Raises ConfigError, HelperError."""
    await trio.lowlevel.checkpoint()
    if access.creds is not None:
        return access.creds
    for path, required in auth_files(access, env):
        file = read_auth_file(path, required)
        helper = file.helper(key)
        if helper is not None:
            found = await helper_get(helper, key.partition("/")[0], env)
        else:
            found = file.credentials(key)
            if found is None and file.store is not None:
                found = await helper_get(file.store, _server(key), env)
        if found is not None:
            return found
    return None


def _server(key: str) -> str:
    """What Docker's store calls a registry: Docker Hub has a name of its own there."""
    host = key.partition("/")[0]
    return "https://index.docker.io/v1/" if host == "docker.io" else host


async def helper_get(name: str, server: str, env: Mapping[str, str]) -> Credentials | None:
    """Ask docker-credential-NAME for `server`; None: it has none. Raises HelperError."""
    answer = await _run_helper(name, "get", server.encode(), env)
    if answer is None:
        return None
    try:
        document = json.loads(answer)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise HelperError(f"docker-credential-{name}: its answer for {server} is invalid") from None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise HelperError(f"docker-credential-{name}: its answer for {server} is invalid")
    if not user and not secret:
        return None
    return Credentials(user, "", secret) if user == "<token>" else Credentials(user, secret)


async def helper_store(
    name: str, server: str, credentials: Credentials, env: Mapping[str, str]
) -> None:
    """Give docker-credential-NAME the credentials of `server`; raises HelperError."""
    request = {
        "ServerURL": server,
        "Username": credentials.username,
        "Secret": credentials.identity_token or credentials.password,
    }
    await _run_helper(name, "store", json.dumps(request).encode(), env)


async def helper_erase(name: str, server: str, env: Mapping[str, str]) -> None:
    """Have docker-credential-NAME forget `server`; raises HelperError."""
    await _run_helper(name, "erase", server.encode(), env)


async def _run_helper(name: str, verb: str, request: bytes, env: Mapping[str, str]) -> bytes | None:
    program = f"docker-credential-{name}"
    if "/" in name or "\0" in name:
        raise HelperError(f"invalid credential helper name {name[:80]!r}")
    path = shutil.which(program, path=env.get("PATH", os.defpath))
    if path is None:
        raise HelperError(f"{program}: not found in PATH (the auth file names this helper)")
    result: subprocess.CompletedProcess[bytes] | None = None
    with trio.move_on_after(HELPER_TIMEOUT if HELPER_TIMEOUT > 0 else math.inf):
        try:
            result = await trio.run_process(
                [path, verb],
                stdin=request,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=dict(env),
            )
        except OSError as error:
            raise HelperError(f"{program}: {os.strerror(error.errno or 0)}") from None
    if result is None:
        raise HelperError(f"{program}: no answer within {HELPER_TIMEOUT:.0f} s")
    output = result.stdout
    if len(output) > _HELPER_OUTPUT:
        raise HelperError(f"{program}: its answer is too large")
    if result.returncode == 0:
        return output
    # Helpers complain on stdout; `get` prints no secret when it fails.
    said = one_line(output.decode(errors="replace")) if verb != "store" else ""
    if verb in ("get", "erase") and "not found" in said:
        return None
    raise HelperError(f"{program} {verb} failed: {said or f'exit code {result.returncode}'}")
