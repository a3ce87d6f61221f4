"""auth.json and Docker's config.json: whose credentials are whose. Pure: bytes in and out.

containers-auth.json(5). Keys are `HOST[:PORT][/NAMESPACE…]`, the longest match wins; Docker's older
keys (`https://index.docker.io/v1/`) match by host.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from imagefs.registry.access import Credentials
from imagefs.registry.errors import ConfigError

LIMIT = 4 << 20
_HUB_ALIASES = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class AuthFile:
    """A parsed file; unknown parts are kept for when it is written again. Never printed."""

    where: str
    document: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, raw: bytes, where: str) -> AuthFile:
        """The file's content; raises ConfigError that names `where` and nothing of the content."""
        if not raw.strip():
            return cls(where)
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise ConfigError(f"{where}: not valid JSON") from None
        if not isinstance(document, dict):
            raise ConfigError(f"{where}: expected a JSON object")
        for key in ("auths", "credHelpers"):
            if not isinstance(document.get(key, {}), dict | None):
                raise ConfigError(f"{where}: {key} is not an object")
        return cls(where, document)

    def helper(self, key: str) -> str | None:
        """The helper (NAME of docker-credential-NAME) set for the registry of `key`."""
        helpers = self.document.get("credHelpers") or {}
        for candidate in _registry_keys(key):
            name = helpers.get(candidate)
            if isinstance(name, str) and name:
                return name
        return None

    @property
    def store(self) -> str | None:
        """The helper for all other registries (`credsStore`)."""
        name = self.document.get("credsStore")
        return name if isinstance(name, str) and name else None

    def credentials(self, key: str) -> Credentials | None:
        """Credentials written in the file for `key` (HOST[/PATH]); None: none are."""
        match = self._match(key)
        return None if match is None else _decode(self.document["auths"][match], self.where, match)

    def with_credentials(self, key: str, credentials: Credentials) -> AuthFile:
        """The file with `credentials` for exactly `key`."""
        text = f"{credentials.username}:{credentials.password}"
        entry = {"auth": base64.b64encode(text.encode()).decode()}
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
        auths = {**(self.document.get("auths") or {}), key: entry}
        return AuthFile(self.where, {**self.document, "auths": auths})

    def without(self, key: str) -> AuthFile | None:
        """The file without credentials for exactly `key`; None: it had none."""
        auths = dict(self.document.get("auths") or {})
        gone = [name for name in auths if normal_key(name) == key]
        if not gone:
            return None
        for name in gone:
            del auths[name]
        return AuthFile(self.where, {**self.document, "auths": auths})

    def encode(self) -> bytes:
        """The bytes to write."""
        return (json.dumps(self.document, indent="\t") + "\n").encode()

    def _match(self, key: str) -> str | None:
        auths: dict[str, Any] = self.document.get("auths") or {}
        by_key = {normal_key(name): name for name in auths if auths[name]}
        for candidate in lookup_keys(key):
            if auths.get(candidate):
                return candidate
            if candidate in by_key:
                return by_key[candidate]
        return None


def normal_key(key: str) -> str:
    """A key of `auths` as HOST[/PATH]; keys with a scheme are Docker's and mean the whole host."""
    for scheme in ("https://", "http://"):
        if key.startswith(scheme):
            return key.removeprefix(scheme).partition("/")[0]
    return key.rstrip("/")


def lookup_keys(key: str) -> Iterator[str]:
    """`key` (HOST/PATH) and what it lies in, most specific first; Docker Hub by all its names."""
    parts = key.split("/")
    for count in range(len(parts), 1, -1):
        yield "/".join(parts[:count])
    yield from _registry_keys(key)


def _registry_keys(key: str) -> tuple[str, ...]:
    host = key.partition("/")[0]
    return _HUB_ALIASES if host in _HUB_ALIASES else (host,)


def _decode(entry: Any, where: str, key: str) -> Credentials | None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: the entry of {key} is not an object")
    token = entry.get("identitytoken")
    token = token if isinstance(token, str) else ""
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            text = base64.b64decode(auth, validate=True).decode()
        except (binascii.Error, ValueError):
            raise ConfigError(f"{where}: the entry of {key} is not valid base64") from None
        user, colon, password = text.partition(":")
        if not colon:
            raise ConfigError(f"{where}: the entry of {key} is not USER:PASSWORD")
        return Credentials(user, password.rstrip("\0"), token)
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name:
        return Credentials(name, secret, token)
    return Credentials("<token>", "", token) if token else None
