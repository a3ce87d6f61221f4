"""login and logout: prove credentials to a registry, keep or forget them. Prints and asks nothing.

Where they are kept is podman's auth.json, or the credential helper that the file names.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from imagefs.errors import InvalidInputError, NotFoundError
from imagefs.oci.reference import Reference, ReferenceError  # noqa: A004 - see reference.py
from imagefs.registry.access import Access, Credentials
from imagefs.registry.authfile import AuthFile
from imagefs.registry.client import RegistryClient
from imagefs.registry.conffiles import load_registries_conf
from imagefs.registry.credentials import (
    auth_file_to_write,
    find_credentials,
    helper_erase,
    helper_store,
    read_auth_file,
)
from imagefs.registry.errors import AccessDenied, ConfigError


class NotLoggedIn(NotFoundError):
    """There are no credentials to forget or to show."""


def registry_key(text: str) -> str:
    """`HOST[:PORT][/NAMESPACE…]` as auth files have it; a scheme is taken off as podman does."""
    key = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, slash, path = key.partition("/")
    try:
        Reference.parse(f"{host}/{path or 'x'}")
    except ReferenceError:
        host = ""
    if not host or (slash and not path):
        raise InvalidInputError(
            f"invalid registry {text[:120]!r}: expected HOST[:PORT][/NAMESPACE]"
        )
    return key


async def login(
    registry: str, credentials: Credentials, access: Access, env: Mapping[str, str] | None = None
) -> Path:
    """Prove the credentials to the registry, then keep them; returns the file that has them now.

    Nothing is written for credentials that the registry refuses. Raises AccessDenied and what else
    a registry may cause.
    """
    env = os.environ if env is None else env
    key = registry_key(registry)
    await _prove(key, credentials, access, env)
    path = auth_file_to_write(access, env)
    helper = read_auth_file(path, required=False).helper(key)
    if helper is not None:
        await helper_store(helper, key, credentials, env)
    else:
        _update(path, lambda file: file.with_credentials(key, credentials))
    return path


async def logout(registry: str, access: Access, env: Mapping[str, str] | None = None) -> Path:
    """Forget the credentials of a registry; returns the file that had them; raises NotLoggedIn."""
    env = os.environ if env is None else env
    key = registry_key(registry)
    path = auth_file_to_write(access, env)
    file = read_auth_file(path, required=False)
    helper = file.helper(key)
    if helper is not None:
        await helper_erase(helper, key, env)
    elif file.without(key) is None:
        raise NotLoggedIn(f"not logged in to {key} (in {path})")
    else:
        _update(path, lambda file: file.without(key) or file)
    return path


def logout_all(access: Access, env: Mapping[str, str] | None = None) -> Path:
    """Forget all credentials written in the auth file; idempotent."""
    env = os.environ if env is None else env
    path = auth_file_to_write(access, env)
    if path.exists():
        _update(path, lambda file: AuthFile(file.where, {**file.document, "auths": {}}))
    return path


async def logged_in_user(
    registry: str, access: Access, env: Mapping[str, str] | None = None
) -> str:
    """The user name that would be sent to a registry; raises NotLoggedIn."""
    env = os.environ if env is None else env
    key = registry_key(registry)
    found = await find_credentials(access, key, env)
    if found is None:
        raise NotLoggedIn(f"not logged in to {key}")
    return found.username


async def _prove(
    key: str, credentials: Credentials, access: Access, env: Mapping[str, str]
) -> None:
    host, _, path = key.partition("/")
    conf = load_registries_conf(access, env)
    entry = conf.find(Reference(host, path or "x"))
    client = RegistryClient(
        host,
        replace(access, creds=credentials),
        insecure=entry is not None and entry.insecure,
        env=env,
    )
    try:
        await client.ping()
    except AccessDenied:
        raise AccessDenied(f"{key}: the user name or password was refused") from None
    finally:
        await client.aclose()


def _update(path: Path, change: Callable[[AuthFile], AuthFile]) -> None:
    """Replace the file by its changed self, atomically, for its owner alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            data = change(read_auth_file(path, required=False)).encode()
            fd, name = tempfile.mkstemp(prefix=".auth-", dir=path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path.resolve() if path.is_symlink() else path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two logins at once must not lose one of the two; held for microseconds."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
