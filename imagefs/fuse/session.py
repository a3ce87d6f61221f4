"""One FUSE session on a descriptor that outlives its servers. Never mounts or unmounts.

Theory of operation. The keeper holds the mounted /dev/fuse. libfuse insists on reading an INIT
first, but the kernel sends one only once: so it is saved, and each server gets it from a socket
pair whose other end libfuse takes for /dev/fuse ("/dev/fd/N"). In `init` the real descriptor is put
in the pair's place with dup2: there and not later, as trio's epoll would go on watching the old
file. A later server's reply to INIT goes to a request that the kernel no longer knows (ENOENT,
harmless).

What the last server read and did not answer, the kernel sends again when told to (NOTIFY_RESEND,
Linux 6.9), with bit 63 of its id set, which libfuse hides. So before libfuse starts, `drain` asks
for it, reads everything raw and notes which thread waits for which operation: that decides which
intents in the journal still count. FORGETs are never sent again, so they are carried out. Then it
asks once more.

A journal slot is freed in `after_task_step`. No checkpoint lies between a handler's return and the
reply, and one lies before anybody reads the next request; so an intent that is still there belongs
to a request without reply, or to a thread that has nothing resent.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

import pyfuse3
import trio

from imagefs.errors import ImagefsError
from imagefs.upper import Journal

FORGET, INIT, BATCH_FORGET = 2, 26, 42
_NOTIFY_RESEND = 7
_HEADER = struct.Struct("<IIQQIII")  # len, opcode, unique, nodeid, uid, gid, pid
_BODY = 40  # where a request's own part starts
_RESENT = 1 << 63
_REQUEST_MAX = (1 << 20) + (1 << 16)


class SessionError(ImagefsError):
    """The descriptor does not behave like a mounted /dev/fuse."""


class Gone(Exception):
    """The file system was unmounted or its connection aborted."""


class Pending(NamedTuple):
    """What a dead server left: opcodes by thread id, and the (inode, count) that are forgotten."""

    resent: dict[int, int]
    forgets: list[tuple[int, int]]


def drain(fuse_fd: int) -> Pending:
    """Read all that waits on `fuse_fd`, note it, and have the kernel send it once more."""
    _resend(fuse_fd)
    pending = Pending({}, [])
    os.set_blocking(fuse_fd, False)
    while True:
        try:
            request = os.read(fuse_fd, _REQUEST_MAX)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise Gone from None
            if error.errno in (errno.EINTR, errno.ENOENT):  # a request that was given up meanwhile
                continue
            raise
        note(request, pending)
    _resend(fuse_fd)
    return pending


def note(request: bytes, pending: Pending) -> None:
    """Add one request to what is pending."""
    _, opcode, unique, node, _, _, thread = _HEADER.unpack_from(request)
    if opcode == FORGET:
        (count,) = struct.unpack_from("<Q", request, _BODY)
        pending.forgets.append((node, count))
    elif opcode == BATCH_FORGET:
        (entries,) = struct.unpack_from("<I", request, _BODY)
        for i in range(entries):
            pending.forgets.append(struct.unpack_from("<QQ", request, _BODY + 8 + 16 * i))
    elif unique & _RESENT:
        pending.resent[thread] = opcode


def _resend(fuse_fd: int) -> None:
    try:
        os.write(fuse_fd, struct.pack("<IiQ", 16, _NOTIFY_RESEND, 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Gone from None
        raise


def read_init(fuse_fd: int, saved: Path) -> bytes:
    """The kernel's INIT request: from `saved`, or from `fuse_fd` the first time."""
    try:
        return saved.read_bytes()
    except FileNotFoundError:
        pass
    try:
        request = os.read(fuse_fd, _REQUEST_MAX)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Gone from None
        raise
    if len(request) < _BODY or _HEADER.unpack_from(request)[1] != INIT:
        raise SessionError("FUSE: the first request is not INIT; is another server on this mount?")
    temporary = saved.with_suffix(".new")
    temporary.write_bytes(request)
    temporary.rename(saved)
    os.set_blocking(fuse_fd, False)
    return request


class Attachment:
    """The socket pair that feeds INIT to libfuse, until `attach` swaps in the real descriptor."""

    def __init__(self, fuse_fd: int, init_request: bytes) -> None:
        self._fuse_fd = fuse_fd
        self._ours, self._libfuse = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.send(init_request)
        self.attached = trio.Event()

    @property
    def path(self) -> str:
        """What libfuse is told to mount on: a descriptor that is mounted already."""
        return f"/dev/fd/{self._libfuse.fileno()}"

    def attach(self) -> None:
        """Called from `Operations.init`, so that the reply and all that follows is the kernel's."""
        os.dup2(self._fuse_fd, self._libfuse.fileno(), inheritable=False)
        self.attached.set()


class _AfterReply(trio.abc.Instrument):
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._journal.answered:
            self._journal.after_reply()


async def serve(ops: pyfuse3.Operations, attachment: Attachment, journal: Journal | None) -> None:
    """Answer requests until the file system is unmounted. Any exception means: start again."""
    pyfuse3.init(ops, attachment.path, set())
    if journal is not None:
        trio.lowlevel.add_instrument(_AfterReply(journal))
    await pyfuse3.main()
