"""Bearer tokens (distribution's token and oauth2 flows): how to get one. Never logs one."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import trio

from imagefs.registry.access import Credentials
from imagefs.registry.challenge import Challenge
from imagefs.registry.errors import AccessDenied, BadResponse, RegistryError
from imagefs.registry.fields import origin
from imagefs.registry.http import Response

TOKEN_LIMIT = 1 << 20
_DEFAULT_LIFE = 60.0
_CLIENT_ID = "imagefs"
Scopes = frozenset[str]
Sender = Callable[[str, str, dict[str, str], bytes | None], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the trio time until which it is used."""

    value: str = field(repr=False)
    expires: float


def basic(credentials: Credentials) -> str:
    """The Authorization field for user and password (RFC 7617)."""
    text = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(text.encode()).decode()


async def fetch_token(
    send: Sender,
    host: str,
    challenge: Challenge,
    scopes: Scopes,
    credentials: Credentials | None,
    plain_ok: bool,
) -> Token:
    """A token for `scopes` from the challenge's realm; raises AccessDenied, BadResponse, ….

    `plain_ok`: whether credentials may travel to an http:// realm.
    """
    realm = challenge.params.get("realm", "")
    try:
        scheme = origin(realm)[0]
    except ValueError:
        raise BadResponse(f"{host}: its token realm is no http(s) URL") from None
    if scheme == "http" and credentials is not None and not plain_ok:
        raise BadResponse(f"{host}: wants credentials sent over plain http: refused")
    response = await _ask(send, realm, challenge.params.get("service"), scopes, credentials)
    body = await response.read(TOKEN_LIMIT)
    if response.status in (401, 403):
        raise AccessDenied(_denied(host, credentials))
    if response.status != 200:
        error = RegistryError(f"{host}: its token server answered {response.status}")
        error.retryable = response.status == 429 or response.status >= 500
        raise error
    return _parse(body, host)


async def _ask(
    send: Sender,
    realm: str,
    service: str | None,
    scopes: Scopes,
    credentials: Credentials | None,
) -> Response:
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "client_id": _CLIENT_ID,
            "refresh_token": credentials.identity_token,
            "scope": " ".join(sorted(scopes)),
            **({"service": service} if service else {}),
        }
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        return await send("POST", realm, fields, urlencode(form).encode())
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in sorted(scopes)]
    if credentials is not None:
        query.append(("account", credentials.username))
    glue = "&" if urlsplit(realm).query else "?"
    url = realm + (glue + urlencode(query) if query else "")
    fields = {"Authorization": basic(credentials)} if credentials is not None else {}
    return await send("GET", url, fields, None)


def _parse(body: bytes, host: str) -> Token:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    value = None
    if isinstance(document, dict):
        value = document.get("token") or document.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise BadResponse(f"{host}: its token server sent no token")
    life = document.get("expires_in") if isinstance(document, dict) else None
    seconds = float(life) if isinstance(life, int | float) and life > 0 else _DEFAULT_LIFE
    # Renewed early: a token must survive the request it is sent with.
    return Token(value, trio.current_time() + min(seconds, 86400.0) * 0.8)


def _denied(host: str, credentials: Credentials | None) -> str:
    if credentials is None:
        return f"{host}: authentication required; log in with: imagefs login {host}"
    return f"{host}: the user name or password was refused; log in with: imagefs login {host}"
