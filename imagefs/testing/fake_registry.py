"""A registry in the test's own process, on loopback, that fails on request. For tests only.

It speaks enough of distribution-spec 1.1 for a client to be tested against, keeps everything in
dicts, records every request, and takes faults: what to do instead of answering the next request
that fits.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import h11
import trio

from imagefs.oci.digest import Digest

_NAME = r"/v2/(?P<repo>.+?)"
Headers = dict[str, str]


@dataclass
class Request:
    """One request as it came; header names in lower case."""

    method: str
    target: str
    headers: Headers
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    def query(self, key: str) -> list[str]:
        """The values of a query parameter."""
        return parse_qs(urlsplit(self.target).query).get(key, [])


@dataclass
class Reply:
    """What is answered; `cut` closes the connection after that many bytes of the body."""

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None


@dataclass
class Fault:
    """Something to go wrong `times` times, for requests whose `METHOD PATH` matches `pattern`.

    "reset": the connection closes without an answer, after the request was read; "cut": the true
    answer breaks off after `at` bytes; "reply": `reply` is answered; "lost": as reset, but the
    request's effect happened; "half": as reset, and an upload keeps the first `at` bytes; "stall":
    after `at` bytes of the answer nothing more comes (-1: none comes at all), and the registry's
    `stalled` is set.
    """

    pattern: str
    kind: Literal["reset", "cut", "reply", "lost", "half", "stall"]
    at: int = 0
    reply: Reply | None = None
    times: int = 1

    def fits(self, request: Request) -> bool:
        """Whether it is to happen to `request`."""
        text = f"{request.method} {request.path}"
        return self.times > 0 and re.search(self.pattern, text) is not None


@dataclass
class FakeRegistry:
    """The registry's state and switches; `serve` puts it on a socket."""

    auth: Literal["none", "basic", "bearer"] = "none"
    user: str = "anna"
    password: str = "s3cret"
    anonymous_pull: bool = False
    ranges: bool = True
    mounts: bool = True
    referrers_api: bool = True
    page: int = 1000
    #: Where blob GETs are redirected to: a base URL of another server.
    blobs_at: str | None = None
    blobs: dict[tuple[str, Digest], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    base: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)

    def asked(self, pattern: str) -> list[Request]:
        """The requests whose `METHOD PATH` matches."""
        return [r for r in self.requests if re.search(pattern, f"{r.method} {r.path}")]

    def answer(self, request: Request) -> Reply:
        """The reply to one request."""
        self.requests.append(request)
        if request.path == "/token":
            return self._token(request)
        denied = self._denied(request)
        if denied is not None:
            return denied
        if request.path == "/v2/":
            return Reply(200, {"content-type": "application/json"}, b"{}")
        for pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match is not None:
                return handler(self, request, **match.groupdict())
        return Reply(404)

    def _denied(self, request: Request) -> Reply | None:
        given = request.headers.get("authorization", "")
        if self.auth == "none":
            return None
        if self.auth == "basic":
            if given == _basic(self.user, self.password):
                return None
            return _error(401, "UNAUTHORIZED", {"www-authenticate": 'Basic realm="fake"'})
        wanted = self._scope(request)
        granted = self.tokens.get(given.removeprefix("Bearer "))
        if granted is not None and (wanted is None or _covers(granted, wanted)):
            return None
        scope = f',scope="{wanted}"' if wanted else ""
        challenge = f'Bearer realm="{self.base}/token",service="fake"{scope}'
        return _error(401, "UNAUTHORIZED", {"www-authenticate": challenge})

    def _scope(self, request: Request) -> str | None:
        match = re.match(_NAME + r"/(manifests|blobs|tags|referrers)/", request.path)
        if match is None:
            return None
        actions = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        if request.method == "DELETE" and match[2] == "manifests":
            actions = "delete"
        if "/uploads/" in request.path:
            actions = "pull,push"
        return f"repository:{match['repo']}:{actions}"

    def _token(self, request: Request) -> Reply:
        given = request.headers.get("authorization")
        scopes = request.query("scope")
        if request.method == "POST":
            form = parse_qs(request.body.decode())
            if form.get("refresh_token") != [self.password]:
                return _error(401, "UNAUTHORIZED")
            scopes = form.get("scope", [""])[0].split()
        elif given is not None and given != _basic(self.user, self.password):
            return _error(401, "UNAUTHORIZED")
        elif given is None:
            if not self.anonymous_pull:
                return _error(401, "UNAUTHORIZED")
            scopes = [s for s in scopes if s.endswith(":pull")]
        token = secrets.token_hex(16)
        self.tokens[token] = scopes
        body = json.dumps({"token": token, "expires_in": 300}).encode()
        return Reply(200, {"content-type": "application/json"}, body)

    def _manifest(self, request: Request, repo: str, key: str) -> Reply:
        if request.method == "PUT":
            return self._put_manifest(request, repo, key)
        if (repo, key) not in self.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        raw, media_type = self.manifests[repo, key]
        if request.method == "DELETE":
            for other in [k for k, v in self.manifests.items() if k[0] == repo and v[0] == raw]:
                del self.manifests[other]
            return Reply(202)
        headers = {"content-type": media_type, "docker-content-digest": str(Digest.of(raw))}
        return Reply(200, headers, raw)

    def _put_manifest(self, request: Request, repo: str, key: str) -> Reply:
        raw = request.body
        entry = (raw, request.headers.get("content-type", ""))
        self.manifests[repo, str(Digest.of(raw))] = entry
        if not key.startswith("sha256:"):
            self.manifests[repo, key] = entry
        headers = {"docker-content-digest": str(Digest.of(raw))}
        subject = json.loads(raw).get("subject")
        if subject and self.referrers_api:
            headers["oci-subject"] = subject["digest"]
        return Reply(201, headers)

    def _blob(self, request: Request, repo: str, digest: str) -> Reply:
        data = self.blobs.get((repo, Digest.parse(digest)))
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        if self.blobs_at is not None and request.method == "GET":
            return Reply(307, {"location": f"{self.blobs_at}/cdn/{repo}/{digest}?signature=x"})
        return self._ranged(request, data)

    def _cdn(self, request: Request, repo: str, digest: str) -> Reply:
        data = self.blobs.get((repo, Digest.parse(digest)))
        return _error(403, "EXPIRED") if data is None else self._ranged(request, data)

    def _ranged(self, request: Request, data: bytes) -> Reply:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if match is None or not self.ranges:
            return Reply(200, {}, data)
        first = int(match[1])
        last = min(int(match[2] or len(data)), len(data) - 1)
        if first >= len(data):
            return Reply(416, {"content-range": f"bytes */{len(data)}"})
        part = data[first : last + 1]
        return Reply(206, {"content-range": f"bytes {first}-{last}/{len(data)}"}, part)

    def _begin(self, request: Request, repo: str) -> Reply:
        mount, source = request.query("mount"), request.query("from")
        if mount and source and self.mounts:
            data = self.blobs.get((source[0], Digest.parse(mount[0])))
            if data is not None:
                self.blobs[repo, Digest.parse(mount[0])] = data
                return Reply(201, {"docker-content-digest": mount[0]})
        upload = secrets.token_hex(8)
        self.uploads[upload] = bytearray()
        return Reply(202, {"location": f"/v2/{repo}/blobs/uploads/{upload}?state=1"})

    def _upload(self, request: Request, repo: str, upload: str) -> Reply:
        data = self.uploads.get(upload)
        if data is None:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        headers = {
            "location": f"/v2/{repo}/blobs/uploads/{upload}?state={len(data)}",
            "range": f"0-{max(0, len(data) - 1)}",
        }
        if request.method == "DELETE":
            del self.uploads[upload]
            return Reply(204)
        if request.method == "GET":
            return Reply(204, headers)
        if request.method == "PATCH":
            start = int(request.headers.get("content-range", "0-0").partition("-")[0])
            if start != len(data):
                return Reply(416, headers)
        data += request.body
        if request.method == "PATCH":
            headers["range"] = f"0-{len(data) - 1}"
            return Reply(202, headers)
        digest = Digest.parse(request.query("digest")[0])
        if Digest.of(bytes(data)) != digest:
            return _error(400, "DIGEST_INVALID")
        self.blobs[repo, digest] = bytes(data)
        del self.uploads[upload]
        return Reply(201, {"docker-content-digest": str(digest)})

    def _tags(self, request: Request, repo: str) -> Reply:
        tags = sorted(k for r, k in self.manifests if r == repo and ":" not in k)
        if not tags:
            return _error(404, "NAME_UNKNOWN")
        last = request.query("last")
        rest = [tag for tag in tags if not last or tag > last[0]]
        part = rest[: self.page]
        headers = {}
        if len(rest) > len(part):
            headers["link"] = f'</v2/{repo}/tags/list?n={self.page}&last={part[-1]}>; rel="next"'
        return Reply(200, headers, json.dumps({"name": repo, "tags": part}).encode())

    def _referrers(self, request: Request, repo: str, digest: str) -> Reply:
        if not self.referrers_api:
            return Reply(404)
        found = [
            {"mediaType": media_type, "digest": key, "size": len(raw)}
            for (name, key), (raw, media_type) in self.manifests.items()
            if name == repo
            and key.startswith("sha256:")
            and json.loads(raw).get("subject", {}).get("digest") == digest
        ]
        return Reply(200, {}, json.dumps({"schemaVersion": 2, "manifests": found}).encode())


_ROUTES: list[tuple[str, Callable[..., Reply]]] = [
    (_NAME + r"/manifests/(?P<key>[^/]+)", FakeRegistry._manifest),
    (_NAME + r"/blobs/uploads/", FakeRegistry._begin),
    (_NAME + r"/blobs/uploads/(?P<upload>[^/]+)", FakeRegistry._upload),
    (_NAME + r"/blobs/(?P<digest>[^/]+)", FakeRegistry._blob),
    (_NAME + r"/tags/list", FakeRegistry._tags),
    (_NAME + r"/referrers/(?P<digest>[^/]+)", FakeRegistry._referrers),
    (r"/cdn/(?P<repo>.+)/(?P<digest>[^/]+)", FakeRegistry._cdn),
]


@asynccontextmanager
async def serve(registry: FakeRegistry) -> AsyncIterator[str]:
    """Serve on a free loopback port; yields `127.0.0.1:PORT`."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        registry.base = f"http://127.0.0.1:{port}"

        async def handle(stream: trio.SocketStream) -> None:
            await _connection(registry, stream)

        nursery.start_soon(trio.serve_listeners, handle, listeners)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            nursery.cancel_scope.cancel()


async def _connection(registry: FakeRegistry, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        while await _exchange(registry, stream, connection):
            connection.start_next_cycle()
    except (h11.ProtocolError, trio.BrokenResourceError):
        pass  # a client that speaks TLS, or one that has gone
    finally:
        await trio.aclose_forcefully(stream)


async def _exchange(
    registry: FakeRegistry, stream: trio.SocketStream, connection: h11.Connection
) -> bool:
    """One request and its reply; False when the connection is over."""
    request = await _receive(stream, connection)
    if request is None:
        return False
    fault = next((fault for fault in registry.faults if fault.fits(request)), None)
    if fault is not None:
        fault.times -= 1
        if fault.kind in ("reset", "half"):
            registry.requests.append(request)
            if fault.kind == "half":
                upload = request.path.rpartition("/")[2]
                registry.uploads[upload] += request.body[: fault.at]
            return False
        if fault.kind == "stall" and fault.at < 0:
            registry.requests.append(request)
            registry.stalled.set()
            await trio.sleep_forever()
    if fault is not None and fault.reply is not None:
        registry.requests.append(request)
        reply = fault.reply
    else:
        reply = registry.answer(request)
    if fault is not None and fault.kind == "lost":
        return False
    cut = fault.at if fault is not None and fault.kind in ("cut", "stall") else None
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    await stream.send_all(
        connection.send(h11.Response(status_code=reply.status, headers=list(headers.items())))
        or b""
    )
    if request.method != "HEAD" and reply.body:
        await stream.send_all(connection.send(h11.Data(data=reply.body[:cut])) or b"")
    if fault is not None and fault.kind == "stall":
        registry.stalled.set()
        await trio.sleep_forever()
    if cut is not None:
        return False
    await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _receive(stream: trio.SocketStream, connection: h11.Connection) -> Request | None:
    request: Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(1 << 16))
        elif isinstance(event, h11.Request):
            headers = {name.decode(): value.decode() for name, value in event.headers}
            request = Request(event.method.decode(), event.target.decode(), headers)
        elif isinstance(event, h11.Data):
            assert request is not None
            request.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


def _covers(granted: list[str], wanted: str) -> bool:
    name, _, actions = wanted.rpartition(":")
    have = {a for g in granted if g.rpartition(":")[0] == name for a in g.split(":")[-1].split(",")}
    return set(actions.split(",")) <= have


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _error(status: int, code: str, headers: Headers | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Reply(status, headers or {}, body)
