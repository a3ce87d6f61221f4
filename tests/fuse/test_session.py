"""What a dead server left behind is told apart by bit 63 of a request's id; see session.py."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from imagefs.fuse.session import Pending, SessionError, note, read_init

HEADER = struct.Struct("<IIQQIII4x")
RESENT = 1 << 63


def request(opcode: int, unique: int, node: int, thread: int, body: bytes = b"") -> bytes:
    return HEADER.pack(HEADER.size + len(body), opcode, unique, node, 0, 0, thread) + body


def test_only_resent_requests_are_noted() -> None:
    pending = Pending({}, [])
    note(request(9, 4 | RESENT, 1, 77), pending)
    note(request(35, 6, 1, 78), pending)
    assert pending.resent == {77: 9}


def test_forgets_are_noted_since_they_never_come_again() -> None:
    pending = Pending({}, [])
    note(request(2, 0, 5, 0, struct.pack("<Q", 3)), pending)
    batch = struct.pack("<II", 2, 0) + struct.pack("<QQQQ", 6, 1, 7, 2)
    note(request(42, 0, 0, 0, batch), pending)
    assert pending.forgets == [(5, 3), (6, 1), (7, 2)]


def test_init_is_read_once_and_then_from_its_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, request(26, 2, 0, 0, bytes(64)))
        first = read_init(reading, tmp_path / "init")
        assert read_init(reading, tmp_path / "init") == first
    finally:
        os.close(reading)
        os.close(writing)


def test_anything_but_init_first_is_an_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, request(1, 2, 1, 5, b"name\0"))
        with pytest.raises(SessionError, match="not INIT"):
            read_init(reading, tmp_path / "init")
        assert not (tmp_path / "init").exists()
    finally:
        os.close(reading)
        os.close(writing)
