"""Single fields of a tar header: numbers, checksums, names. Pure functions that keep no state.

Sources: POSIX.1-2017 pax "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
import zlib

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
NAME_MAX = 255
TARGET_MAX = 4095
#: No path that is longer can be used; what is shorter cannot nest deeper than half of it.
PATH_MAX = 4095
_HALF = BLOCK // 2
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_INT64 = 1 << 63


def checksum(block: bytes) -> int:
    """The sum of the block's bytes, its checksum field taken as spaces.

    Adler-32 keeps the plain sum in its low half, modulo 65521; half a block never reaches that.
    """
    total = (zlib.adler32(block[:_HALF]) & 0xFFFF) + (zlib.adler32(block[_HALF:]) & 0xFFFF) - 2
    return total - sum(block[148:156]) + 8 * ord(" ")


def signed_checksum(block: bytes) -> int:
    """The same over signed bytes, as some historic tars made it."""
    counted = block[:148] + block[156:]
    return checksum(block) - 256 * sum(byte > 127 for byte in counted)


def number(field: bytes) -> int:
    """An octal number, or a base-256 one (GNU, star), which may be negative.

    Raises ValueError for anything else.
    """
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    match = _OCTAL.fullmatch(field)
    if match is None:
        # What follows the first terminator is not part of the number.
        match = _OCTAL.fullmatch(text(field.lstrip(b" ")))
    if match is None:
        raise ValueError(f"{field!r} is not a number")
    return int(match[1] or b"0", 8)


def text(field: bytes) -> bytes:
    """The bytes of a field up to its first NUL."""
    return field.partition(b"\0")[0]


def clamp_ns(value: int) -> int:
    """A time in nanoseconds, held within 64 bits (years 1677 to 2262)."""
    return max(-_INT64, min(_INT64 - 1, value))


def clean_path(name: bytes) -> bytes:
    """`name` without "." and "..", doubled and outer slashes; b"" is the root.

    Raises ValueError for what is no name below the root.
    """
    if not name:
        raise ValueError("the name is empty")
    if name[:2] == b"./":
        name = name[2:]
    name = name.strip(b"/")
    if b"//" in name or b"/." in name or name[:1] == b".":
        name = _resolve(name)
    if b"\0" in name:
        raise ValueError("the name holds a NUL")
    if len(name) > PATH_MAX:
        raise ValueError(f"the name is longer than {PATH_MAX} bytes")
    if len(name) > NAME_MAX and any(len(part) > NAME_MAX for part in name.split(b"/")):
        raise ValueError(f"a part of the name is longer than {NAME_MAX} bytes")
    return name


def _resolve(name: bytes) -> bytes:
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise ValueError("the name leads out of the image")
    return b"/".join(parts)


def symlink_target(target: bytes) -> bytes:
    """The target of a symlink as written. Raises ValueError for what no symlink can hold."""
    if not target:
        raise ValueError("the symlink has no target")
    if b"\0" in target:
        raise ValueError("the symlink's target holds a NUL")
    if len(target) > TARGET_MAX:
        raise ValueError(f"the symlink's target is longer than {TARGET_MAX} bytes")
    return target
