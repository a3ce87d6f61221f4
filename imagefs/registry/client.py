"""One registry: connect, authenticate, ask again, explain. Knows the API's frame, not its verbs.

Theory of operation. The first call pings `/v2/`, which settles the scheme and the challenge. After
that each call is: send; on 401 once with a new token; on what may pass (RETRY_STATUSES, a broken
connection) again after a pause, until the policy gives up; anything else is the answer or an error.

Schemes, in the order they are tried (`http` only after TLS failed, never after a refusal):

| registry                                     | tries            |
|----------------------------------------------|------------------|
| insecure (--tls-verify=false, `insecure`)    | https (unverified), http |
| on loopback, nothing said                    | https, http      |
| any other, or --tls-verify=true              | https            |
"""

from __future__ import annotations

import ipaddress
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

import trio

from imagefs.registry.access import Access, Credentials
from imagefs.registry.certs import find_cert_dir, tls_context
from imagefs.registry.challenge import Challenge, parse_challenges
from imagefs.registry.credentials import find_credentials
from imagefs.registry.errors import (
    AccessDenied,
    BadResponse,
    ConnectionLost,
    RegistryBroken,
    RegistryBusy,
    RegistryError,
    RegistryNotFound,
    RegistryTimeout,
    TlsFailed,
    Unreachable,
)
from imagefs.registry.fields import error_message, origin
from imagefs.registry.http import READ_TIMEOUT, Http, Response
from imagefs.registry.retry import RETRY_STATUSES, RetryPolicy, parse_retry_after
from imagefs.registry.tokens import Scopes, Token, basic, fetch_token

_ERROR_LIMIT = 64 << 10
_HUB_HOST = "registry-1.docker.io"
#: Tries of what a person waits for; a file system's reads have the whole budget instead.
IMPATIENT_TRIES = 4


class Attempts:
    """The tries of one operation; `again` sleeps, or raises when it is time to give up."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.patient = policy.tries is None
        self._failures = 0
        self._started = trio.current_time()

    def progress(self) -> None:
        """Something arrived: the budget begins anew."""
        self._failures = 0
        self._started = trio.current_time()

    async def again(self, error: RegistryError) -> None:
        """Wait before the next try; raises `error` if there is none."""
        self._failures += 1
        elapsed = trio.current_time() - self._started
        delay = None
        if error.retryable:
            delay = self._policy.delay(self._failures, elapsed, random.random(), error.retry_after)
        if delay is None:
            raise error
        await trio.sleep(delay)


class RegistryClient:
    """A registry at HOST[:PORT], as one user sees it (credentials differ by repository)."""

    def __init__(
        self,
        host: str,
        access: Access,
        *,
        insecure: bool = False,
        env: Mapping[str, str] | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.host = host
        self._access = access
        self._env = os.environ if env is None else env
        self._policy = policy or RetryPolicy(budget=access.retry_budget)
        self._insecure = access.tls_verify is False or (insecure and access.tls_verify is None)
        self._authority = _HUB_HOST if host == "docker.io" else host
        loopback = is_loopback(self._authority)
        self._schemes = ["https"]
        if self._insecure or (loopback and access.tls_verify is None):
            self._schemes.append("http")
        self._http = Http(
            self._authority,
            lambda: tls_context(
                find_cert_dir(host, access.cert_dir, self._env), not self._insecure
            ),
            lambda: tls_context(None, not self._insecure),
            loopback,
        )
        self._base: str | None = None
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, Scopes], Token] = {}
        self._lock = trio.Lock()

    def attempts(self, patient: bool) -> Attempts:
        """The tries for an operation; patient ones use the whole budget."""
        tries = None if patient else IMPATIENT_TRIES
        return Attempts(replace(self._policy, tries=tries))

    async def call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        repository: str = "",
        scopes: Iterable[str] = (),
        expect: Iterable[int] = (200,),
        fields: Mapping[str, str] | None = None,
        content: bytes | None = None,
        once: bool = False,
        timeout: float = READ_TIMEOUT,  # noqa: ASYNC109 - of a read without bytes, not of the call
        attempts: Attempts | None = None,
    ) -> Response:
        """The answer, with a status of `expect`; the caller reads or closes it.

        `path` is below the registry's root, or a URL that the registry gave us. `what` names the
        thing for messages. `once`: what fails is not tried again (but with a new token), since a
        part of it may have happened.
        """
        attempts = attempts or self.attempts(patient=False)
        wanted = frozenset(scopes)
        fields = fields or {}
        renewed = False
        while True:
            try:
                await self._connect(attempts)
                response = await self._once(
                    method, self.url(path), repository, wanted, fields, content, timeout
                )
                if response.status in expect:
                    return response
                if response.status == 401 and not renewed:
                    renewed = True
                    await self._challenged(response, repository, wanted)
                    continue
                raise await self._error(response, what, repository)
            except RegistryError as error:
                if once:
                    raise
                await attempts.again(error)

    async def follow(self, url: str, fields: Mapping[str, str]) -> Response:
        """One GET without credentials of a URL that a redirect led to earlier."""
        return await self._http.get("GET", url, fields, None)

    def is_own(self, url: str) -> bool:
        """Whether `url` is at the registry itself, so that it needs the registry's credentials."""
        return origin(url) == origin(f"{self._base}/")

    def url(self, path: str) -> str:
        """`path` as a URL; one that the registry gave us must be http(s)."""
        if path.startswith("/"):
            return f"{self._base}{path}"
        return path

    async def ping(self) -> None:
        """Find the registry and prove the credentials, if it wants any; raises RegistryError."""
        response = await self.call("GET", "/v2/", what=self.host)
        await response.aclose()

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.aclose()

    async def _connect(self, attempts: Attempts) -> None:
        if self._base is not None:
            await trio.lowlevel.checkpoint()
            return
        async with self._lock:
            if self._base is None:
                await self._settle(attempts)

    async def _settle(self, attempts: Attempts) -> None:
        """Try the schemes in order; the first failure is the one to report."""
        first: RegistryError | None = None
        for scheme in self._schemes:
            base = f"{scheme}://{self._authority}"
            try:
                response = await self._http.get("GET", f"{base}/v2/", {}, None)
            except (TlsFailed, ConnectionLost) as error:
                # Some servers of plain HTTP answer a handshake by a reset.
                first = first or error
                continue
            except (Unreachable, RegistryTimeout) as error:
                if first is not None:
                    raise first from None
                if not attempts.patient:
                    error.retryable = False  # a person learns at once that nobody is there
                raise
            await response.aclose()
            if response.status == 400 and first is not None:
                break  # what an HTTPS server says to plain HTTP
            if response.status == 401:
                self._note(response, "")
            self._base = base
            return
        assert first is not None
        raise first

    async def _once(
        self,
        method: str,
        url: str,
        repository: str,
        scopes: Scopes,
        fields: Mapping[str, str],
        content: bytes | None,
        timeout: float,  # noqa: ASYNC109 - handed on
    ) -> Response:
        authorization = None
        if self.is_own(url):
            authorization = await self._authorization(repository, scopes)
        if method in ("GET", "HEAD"):
            return await self._http.get(method, url, fields, authorization)
        private = {"Authorization": authorization} if authorization else {}
        return await self._http.send(method, url, {**fields, **private}, content, timeout)

    async def _authorization(self, repository: str, scopes: Scopes) -> str | None:
        challenge = self._challenges.get(repository) or self._challenges.get("")
        if challenge is None:
            return None
        credentials = await self._credentials(repository)
        if challenge.scheme == "basic":
            return basic(credentials) if credentials is not None else None
        key = (repository, scopes)
        async with self._lock:
            token = self._tokens.get(key)
            if token is None or token.expires <= trio.current_time():
                token = await fetch_token(
                    self._send_token,
                    self.host,
                    challenge,
                    scopes,
                    credentials,
                    plain_ok=self._insecure or (self._base or "").startswith("http:"),
                )
                self._tokens[key] = token
        return f"Bearer {token.value}"

    async def _send_token(
        self, method: str, url: str, fields: dict[str, str], content: bytes | None
    ) -> Response:
        return await self._http.send(method, url, fields, content)

    async def _credentials(self, repository: str) -> Credentials | None:
        key = f"{self.host}/{repository}" if repository else self.host
        return await find_credentials(self._access, key, self._env)

    async def _challenged(self, response: Response, repository: str, scopes: Scopes) -> None:
        self._note(response, repository)
        self._tokens.pop((repository, scopes), None)
        await response.aclose()

    def _note(self, response: Response, repository: str) -> None:
        for challenge in parse_challenges(response.fields("www-authenticate")):
            if challenge.scheme in ("basic", "bearer"):
                self._challenges[repository] = challenge
                return
        raise BadResponse(f"{self.host}: asks for an authentication other than Basic or Bearer")

    async def _error(self, response: Response, what: str, repository: str) -> RegistryError:
        """The answer as an error in words; reads its body."""
        try:
            body = await response.read(_ERROR_LIMIT)
        except RegistryError:
            body = b""
        code, message = error_message(body)
        detail = f" ({': '.join(filter(None, (code.lower(), message)))})" if code else ""
        status = response.status
        wait = parse_retry_after(response.field("retry-after"))
        if status == 401:
            known = await self._credentials(repository) is not None
            return AccessDenied(
                f"{what}: {'credentials refused' if known else 'authentication required'}{detail}; "
                f"log in with: imagefs login {self.host}"
            )
        if status == 403:
            return AccessDenied(f"{what}: not allowed{detail}; see: imagefs login {self.host}")
        if status == 404:
            return RegistryNotFound(f"{what}: not found{detail}")
        if status == 429:
            when = "later" if wait is None else f"in {wait:.0f} s"
            error: RegistryError = RegistryBusy(
                f"{what}: {self.host} has too many requests from here{detail}; try again {when}"
            )
        elif status in RETRY_STATUSES or status >= 500:
            error = RegistryBroken(f"{what}: {self.host} failed with status {status}{detail}")
        else:
            error = BadResponse(f"{what}: {self.host} answered with status {status}{detail}")
        error.retry_after = wait
        return error


def is_loopback(authority: str) -> bool:
    """Whether HOST[:PORT] is this machine by its name or address."""
    name = urlsplit(f"//{authority}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
