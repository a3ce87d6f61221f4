"""Relays between our standard streams and a container's, through its monitor. Starts nothing.

conmon's socket is SOCK_SEQPACKET: each message to us begins with a byte for the stream (2 standard
output, 3 standard error), each message from us is input, and shutting down our side is its end.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_STREAMS = {2: "output", 3: "error"}
#: conmon's buffers: what it reads at once from a container, and takes at once from us.
_MESSAGE = 8192 + 1
_INPUT = 8192


@dataclass
class Streams:
    """Descriptors of ours; `input` None: the container's input is not ours."""

    input: int | None
    output: int
    error: int


def connect(directory: Path) -> socket.socket:
    """A connection to the monitor of the container whose bundle is in `directory`."""
    # The path may be longer than a socket's address can be.
    fd = os.open(directory / "attach", os.O_PATH | os.O_CLOEXEC)
    try:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            found.connect(f"/proc/self/fd/{fd}")
        except BaseException:
            found.close()
            raise
        return found
    finally:
        os.close(fd)


def relay(
    connection: socket.socket, streams: Streams, wake: int, on_signal: Callable[[int], None]
) -> None:
    """Relay until the container's output ends. `wake` gives the numbers of signals, a byte each.

    BrokenPipeError if our output has nobody left to read it.
    """
    _Relay(connection, streams, wake, on_signal).run()


class _Relay:
    def __init__(
        self,
        connection: socket.socket,
        streams: Streams,
        wake: int,
        on_signal: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._wake = wake
        self._on_signal = on_signal
        self._pending = b""
        connection.setblocking(False)

    def run(self) -> None:
        if self._streams.input is None:
            self._end_input()
        while True:
            events = dict(self._poll())
            if self._wake in events:
                for number in os.read(self._wake, 4096):
                    self._on_signal(number)
            here = events.get(self._connection.fileno(), 0)
            if here & select.POLLOUT:
                self._send()
            if here & ~select.POLLOUT and not self._receive():
                return
            if self._streams.input in events:
                self._read()

    def _poll(self) -> list[tuple[int, int]]:
        """What is ready: input is only asked for when the last of it is gone."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self._pending else 0)
        poll.register(self._connection, wanted)
        if self._streams.input is not None and not self._pending:
            poll.register(self._streams.input, select.POLLIN)
        return poll.poll()

    def _receive(self) -> bool:
        """Pass a message on; False at the end."""
        try:
            message = self._connection.recv(_MESSAGE)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if not message:
            return False
        name = _STREAMS.get(message[0])
        if name is not None:
            _write(getattr(self._streams, name), memoryview(message)[1:])
        return True

    def _read(self) -> None:
        assert self._streams.input is not None
        try:
            self._pending = os.read(self._streams.input, _INPUT)
        except BlockingIOError:
            return
        except OSError as error:
            # The terminal is gone, or there never was an input: the same as its end.
            if error.errno not in (errno.EIO, errno.EBADF):
                raise
            self._pending = b""
        if self._pending:
            self._send()
        else:
            self._streams.input = None
            self._end_input()

    def _send(self) -> None:
        try:
            self._connection.send(self._pending)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._streams.input = None  # it ended; what it said may still be to be read
        self._pending = b""

    def _end_input(self) -> None:
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise


def _write(fd: int, data: memoryview) -> None:
    while len(data):
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody made our output non-blocking: wait for room
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
