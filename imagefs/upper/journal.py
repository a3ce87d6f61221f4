"""Intents of requests that must not happen twice, where they survive the server. Never results.

Theory of operation. A request that is not idempotent leaves an *intent* (thread id, operation,
arguments, and a note by which its effect can be recognised) before its effect, which is one atomic
step. The slot is freed after the reply: the FUSE layer calls `after_reply` in a trio instrument's
`after_task_step`, since no checkpoint lies between a handler's return and the reply. So what a new
server finds belongs to a request that was not answered, or to a thread that has nothing resent; the
latter are dropped in `keep_only`. A thread waits for one request at a time.

The file lies on tmpfs: it guards against the death of a process, not of the machine. A slot is a
u64 length and that many bytes of MessagePack; it counts once its length is set.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

SLOTS = 64
SLOT = 1 << 17  # room for a 64 KiB xattr value and everything else
OPERATIONS = {
    6: "symlink",
    8: "mknod",
    9: "mkdir",
    10: "unlink",
    11: "rmdir",
    12: "rename",
    13: "link",
    21: "setxattr",
    24: "removexattr",
    35: "create",
    45: "rename",
}
_LENGTH = struct.Struct("<Q")

Note = dict[str, int | bytes]
_Record = tuple[int, int, str, list[int | bytes], Note]


class Intent(NamedTuple):
    """What a thread was about to do. `args` are ints and bytes only."""

    serial: int  # counts up
    slot: int
    thread: int
    operation: str
    args: tuple[int | bytes, ...]
    note: Note


class Journal:
    """Slots in one file. One process at a time uses it; `enabled=False` is for the test that shows
    what goes wrong without a journal."""

    def __init__(self, path: Path | str, enabled: bool = True) -> None:
        self.enabled = enabled
        self.answered: list[int] = []
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, SLOTS * SLOT)
            self._map = mmap.mmap(fd, SLOTS * SLOT)
        finally:
            os.close(fd)
        self._free: list[int] = []
        self.old: list[Intent] = []
        for slot in reversed(range(SLOTS)):
            (length,) = _LENGTH.unpack_from(self._map, slot * SLOT)
            if length:
                self.old.append(self._read(slot, length))
            else:
                self._free.append(slot)
        self.old.sort()
        self._serial = self.old[-1].serial + 1 if self.old else 0

    def _read(self, slot: int, length: int) -> Intent:
        start = slot * SLOT + _LENGTH.size
        record: _Record = msgspec.msgpack.decode(self._map[start : start + length], type=_Record)
        serial, thread, operation, args, note = record
        return Intent(serial, slot, thread, operation, tuple(args), note)

    def intend(
        self, thread: int, operation: str, args: tuple[int | bytes, ...], note: Note
    ) -> int | None:
        """Write an intent; returns its slot (None where the journal is off)."""
        if not self.enabled:
            return None
        record = msgspec.msgpack.encode((self._serial, thread, operation, args, note))
        self._serial += 1
        if not self._free and self.old:  # of thread 0: nothing ever comes to take them
            self.clear(self.old.pop(0).slot)
        slot = self._free.pop()
        start = slot * SLOT + _LENGTH.size
        self._map[start : start + len(record)] = record
        _LENGTH.pack_into(self._map, slot * SLOT, len(record))
        return slot

    def clear(self, slot: int | None) -> None:
        """Free a slot."""
        if slot is not None:
            _LENGTH.pack_into(self._map, slot * SLOT, 0)
            self._free.append(slot)

    def after_reply(self) -> None:
        """Free the slots of requests that were answered in the task step that just ended."""
        while self.answered:
            self.clear(self.answered.pop())

    def keep_only(self, resent: Mapping[int, int]) -> None:
        """Drop the intents of threads that do not wait for their operation again.

        Thread 0 stands for every caller outside the pid namespace that mounted: its intents stay,
        to be matched by operation and arguments.
        """
        kept = []
        for intent in self.old:
            if (
                intent.thread == 0
                or OPERATIONS.get(resent.get(intent.thread, 0)) == intent.operation
            ):
                kept.append(intent)
            else:
                self.clear(intent.slot)
        self.old = kept

    def drop_old(self) -> None:
        """Forget every intent of an earlier server."""
        self.keep_only({})
        for intent in self.old:
            self.clear(intent.slot)
        self.old = []

    def redo(self, thread: int, operation: str, args: tuple[int | bytes, ...]) -> Note | None:
        """The note of the intent that this very request left before its server died, if it did.

        The intent is handed over: its slot is freed after the reply.
        """
        for i, intent in enumerate(self.old):
            if (intent.thread, intent.operation, intent.args) == (thread, operation, args):
                del self.old[i]
                self.answered.append(intent.slot)
                return intent.note
        return None

    def close(self) -> None:
        """Unmap the file; it stays."""
        self._map.close()
