"""HTTP to one registry: connections, redirects, failures in words. Knows no API and no tokens.

The only module that imports httpx2. Redirects are followed by hand: the Authorization field goes to
the registry's own origin alone, and from https there is no way down to http.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from urllib.parse import urljoin

import httpx2
import trio

from imagefs.registry.errors import (
    BadResponse,
    ConnectionLost,
    RegistryError,
    RegistryTimeout,
    TlsFailed,
    Unreachable,
)
from imagefs.registry.fields import origin

# httpx2 logs URLs, httpcore2 header fields: both can hold tokens.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

CONNECT_TIMEOUT = 10.0
#: Seconds without a byte before a transfer counts as broken.
READ_TIMEOUT = 20.0
#: A registry may take long to put an upload in its place.
UPLOAD_TIMEOUT = 300.0
_MAX_REDIRECTS = 8
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Response:
    """One answer; its body is read once, in pieces or whole, or closed unread."""

    def __init__(self, raw: httpx2.Response, host: str) -> None:
        self._raw = raw
        self._host = host
        self.status = raw.status_code
        self.url = str(raw.request.url)

    def field(self, name: str) -> str | None:
        """A header field, several of one name joined."""
        return self._raw.headers.get(name)

    def fields(self, name: str) -> list[str]:
        """All header fields of that name."""
        return self._raw.headers.get_list(name)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, no content coding undone; raises ConnectionLost and the like."""
        pieces = self._raw.aiter_raw()
        try:
            async for piece in pieces:
                yield piece
        except httpx2.HTTPError as error:
            raise translate(error, self._host) from None
        finally:
            await self._end(pieces)

    async def _end(self, pieces: AsyncIterator[bytes]) -> None:
        """Close the connection, and the generators inside httpx2, which it leaves to the collector.

        Asked for more after the close, they fail and are thereby finished.
        """
        with trio.CancelScope(shield=True):
            await self._raw.aclose()
            try:
                async for _ in pieces:
                    pass
            except (httpx2.HTTPError, httpx2.StreamError, RuntimeError):
                pass

    async def read(self, limit: int) -> bytes:
        """The whole body, then closed; raises BadResponse if it has more than `limit` bytes."""
        try:
            body = bytearray()
            async with aclosing(self.pieces()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > limit:
                        raise BadResponse(f"{self._host}: the answer is larger than {limit} bytes")
            return bytes(body)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give the connection back. Idempotent."""
        await self._raw.aclose()


class Http:
    """Keep-alive connections to a registry, and to other servers that it sends us to.

    `own_context` makes the TLS context for the registry (its certs.d), `other_context` the one for
    everybody else, who must not be shown a client certificate.
    """

    def __init__(
        self,
        host: str,
        own_context: Callable[[], ssl.SSLContext],
        other_context: Callable[[], ssl.SSLContext],
        loopback: bool,
    ) -> None:
        self._host = host
        self._contexts = {True: own_context, False: other_context}
        self._loopback = loopback
        self._clients: dict[tuple[bool, bool], httpx2.AsyncClient] = {}

    async def send(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        content: bytes | None = None,
        timeout: float = READ_TIMEOUT,  # noqa: ASYNC109 - of a read without bytes, not of the call
    ) -> Response:
        """One request, one answer, no redirect followed; raises RegistryError."""
        client = self._client(url)
        try:
            request = client.build_request(
                method,
                url,
                headers={"Accept-Encoding": "identity", "User-Agent": "imagefs", **fields},
                content=content,
                timeout=httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT, pool=None),
            )
            return Response(await client.send(request, stream=True), self._host)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise translate(error, self._host) from None

    async def get(
        self, method: str, url: str, fields: Mapping[str, str], authorization: str | None
    ) -> Response:
        """GET or HEAD, redirects followed; `authorization` is for the origin of `url` alone."""
        home = origin(url)
        for _ in range(_MAX_REDIRECTS):
            here = origin(url)
            private = {"Authorization": authorization} if authorization and here == home else {}
            response = await self.send(method, url, {**fields, **private})
            location = response.field("location")
            if response.status not in _REDIRECTS or location is None:
                return response
            await response.aclose()
            url = self._redirected(url, location)
        raise BadResponse(f"{self._host}: more than {_MAX_REDIRECTS} redirects")

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = str(urljoin(url, location))
            scheme = origin(target)[0]
        except ValueError:
            raise BadResponse(f"{self._host}: redirects to something that is no URL") from None
        if scheme == "http" and origin(url)[0] == "https":
            raise BadResponse(f"{self._host}: redirects from https to http: refused")
        return target

    def _client(self, url: str) -> httpx2.AsyncClient:
        scheme, name, port = _origin_or_bad(url, self._host)
        authority = f"[{name}]" if ":" in name else name
        own = self._host.lower() in (authority, f"{authority}:{port}")
        key = (own, scheme == "https")
        if key not in self._clients:
            # Reading the system's CAs takes long: not for plain HTTP.
            bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._clients[key] = httpx2.AsyncClient(
                verify=self._contexts[own]() if scheme == "https" else bare,
                follow_redirects=False,
                # Proxies of the environment are not for this machine's own registries.
                trust_env=not (own and self._loopback),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32),
            )
        return self._clients[key]


def _origin_or_bad(url: str, host: str) -> tuple[str, str, int]:
    try:
        return origin(url)
    except ValueError:
        raise BadResponse(f"{host}: sent something that is no http(s) URL") from None


def translate(error: Exception, host: str) -> RegistryError:
    """An httpx2 exception as one of ours: which host, what happened, what to do."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TlsFailed(
                f"{host}: its TLS certificate is not trusted ({cause.verify_message}); put its CA "
                f"into /etc/containers/certs.d/{host}/ca.crt, or use --tls-verify=false"
            )
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "TLS error").lower().replace("_", " ")
            return TlsFailed(
                f"{host}: TLS failed ({reason}); if this registry speaks plain HTTP, use "
                "--tls-verify=false or insecure = true in registries.conf"
            )
        if isinstance(cause, socket.gaierror):
            return Unreachable(f"{host}: no address is known for this host ({cause.strerror})")
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return ConnectionLost(f"{host}: the connection was reset")
        if isinstance(cause, ConnectionRefusedError):
            return Unreachable(f"{host}: connection refused; is the registry running?")
    if isinstance(error, httpx2.ConnectTimeout):
        return RegistryTimeout(f"{host}: no connection within {CONNECT_TIMEOUT:.0f} s")
    if isinstance(error, httpx2.TimeoutException):
        return RegistryTimeout(f"{host}: no answer in time")
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
        numbers = [c.errno for c in causes if isinstance(c, OSError) and c.errno]
        reason = errno.errorcode.get(numbers[-1], "error") if numbers else "error"
        return Unreachable(f"{host}: no connection ({reason})")
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return BadResponse(f"{host}: not a usable URL")
    if isinstance(error, httpx2.TransportError):
        return ConnectionLost(f"{host}: the connection broke ({type(error).__name__})")
    return BadResponse(f"{host}: HTTP failed ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    todo = [error]
    seen: set[int] = set()
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        todo += [link for link in (current.__cause__, current.__context__) if link is not None]
        if isinstance(current, BaseExceptionGroup):
            todo += current.exceptions
