"""An HTTP proxy on loopback that counts what passes and can spoil it; it never caches or retries.

It stands where the registry seems to be: give clients `proxy.host` in place of the registry's.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PIECE = 64 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass
class Exchange:
    """One request and its answer; `sent` and `received` are body bytes, as the client sees them.

    Counted before they are passed on, so that a client which has its answer finds it counted;
    one that hangs up in the middle may be charged for up to 64 KiB more. `status` is 0 until then.
    """

    method: str
    path: str
    range: str | None
    status: int = 0
    sent: int = 0
    received: int = 0

    @property
    def is_blob(self) -> bool:
        """Tell whether a blob was asked for, by digest."""
        return "/blobs/sha256:" in self.path


@dataclass
class Fault:
    """What to do to requests whose method and path match, at most `times` times.

    `status`: answer that, with `headers`, without asking the registry. `drop_after`: close the
    connection after so many bytes of the answer's body. `flip`: invert the body's byte at that
    offset. `delay`: wait so many seconds first, as a far registry would.
    """

    path: str = ""
    method: str = ""
    times: int = 1 << 30
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    flip: int | None = None
    delay: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        """Tell whether it is for such a request, and has times left."""
        return (
            self.times > 0
            and self.method in ("", method)
            and re.search(self.path, path) is not None
        )


class CountingProxy:
    """Forwards to a plain HTTP server on `port`; use as a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._faults: list[Fault] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def inject(self, fault: Fault) -> Fault:
        """Spoil from now on what `fault` matches; the first that matches counts."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def reset(self) -> None:
        """Forget what was counted."""
        with self._lock:
            self._exchanges.clear()

    def exchanges(self, method: str = "", path: str = "") -> list[Exchange]:
        """Return what passed, oldest first: of that method, with a path that `path` finds."""
        with self._lock:
            seen = [replace(exchange) for exchange in self._exchanges]
        return [e for e in seen if method in ("", e.method) and re.search(path, e.path)]

    def bytes_fetched(self, path: str = "") -> int:
        """Return the body bytes that clients got in answer to GETs of matching paths."""
        return sum(exchange.received for exchange in self.exchanges("GET", path))

    def bytes_sent(self, path: str = "") -> int:
        """Return the body bytes that clients uploaded to matching paths."""
        return sum(exchange.sent for exchange in self.exchanges(path=path))

    def _fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    fault.times -= 1
                    return fault
        return None

    def _record(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges.append(exchange)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: CountingProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away in the middle, and tests make them."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_any(self) -> None:
        proxy = self.server.proxy
        self._exchange = Exchange(self.command, self.path, self.headers.get("Range"))
        proxy._record(self._exchange)
        fault = proxy._fault_for(self.command, self.path) or Fault()
        if fault.delay:
            time.sleep(fault.delay)
        if fault.status is not None:
            for _ in self._request_body():
                pass
            self._answer(fault.status, list(fault.headers.items()), iter(()), 0, fault)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", proxy._target)
        try:
            self._forward(upstream, fault)
        except ConnectionError:
            self.close_connection = True
        finally:
            upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_any  # noqa: N815 -- its names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        """Say nothing; `exchanges` tells."""

    def _forward(self, upstream: http.client.HTTPConnection, fault: Fault) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        length = self.headers.get("Content-Length")
        if length is not None:
            headers["Content-Length"] = length
        upstream.request(
            self.command,
            self.path,
            body=self._request_body() if self._has_body() else None,
            headers=headers,
            encode_chunked=length is None,
        )
        answer = upstream.getresponse()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP]
        size = answer.getheader("Content-Length")
        pieces = iter(lambda: answer.read(_PIECE), b"")
        self._answer(answer.status, kept, pieces, None if size is None else int(size), fault)

    def _has_body(self) -> bool:
        return "Content-Length" in self.headers or "Transfer-Encoding" in self.headers

    def _request_body(self) -> Iterator[bytes]:
        for piece in self._request_pieces():
            self._exchange.sent += len(piece)
            yield piece

    def _request_pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        pieces: Iterator[bytes],
        size: int | None,
        fault: Fault,
    ) -> None:
        self.send_response_only(status)
        for key, value in headers:
            self.send_header(key, value)
        if size is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(size))
        self._exchange.status = status
        self.end_headers()
        for piece in pieces:
            spoilt = _spoil(piece, self._exchange.received, fault)
            self._exchange.received += len(spoilt)
            self.wfile.write(spoilt)
            if len(spoilt) < len(piece):
                self.close_connection = True
                break


def _spoil(piece: bytes, offset: int, fault: Fault) -> bytes:
    """Return what is left of a piece of a body that begins at `offset`."""
    if fault.flip is not None and offset <= fault.flip < offset + len(piece):
        at = fault.flip - offset
        piece = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
    if fault.drop_after is not None:
        piece = piece[: max(0, fault.drop_after - offset)]
    return piece
