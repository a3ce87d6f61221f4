"""One tar header block, and how extended headers change what it says. Keeps no state.

Sources: POSIX.1-2017 pax "ustar Interchange Format"; GNU tar manual "Basic Tar Format"; star(5).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from typing import NamedTuple

from imagefs.formats import pax
from imagefs.formats.index import Entry
from imagefs.formats.tarfields import (
    checksum,
    clamp_ns,
    clean_path,
    number,
    signed_checksum,
    symlink_target,
    text,
)

SPARSE = ord("S")
HARD_LINK = 0
_HARD_LINK_TYPE = ord("1")
_DIRECTORY_TYPE = ord("5")
_OLD_REGULAR = 0
#: Entries of a layer by their type flag: S_IFMT bits, or 0 for a hard link.
KINDS = {
    _OLD_REGULAR: stat.S_IFREG,
    ord("0"): stat.S_IFREG,
    ord("7"): stat.S_IFREG,
    SPARSE: stat.S_IFREG,
    _HARD_LINK_TYPE: HARD_LINK,
    ord("2"): stat.S_IFLNK,
    ord("3"): stat.S_IFCHR,
    ord("4"): stat.S_IFBLK,
    _DIRECTORY_TYPE: stat.S_IFDIR,
    ord("D"): stat.S_IFDIR,
    ord("6"): stat.S_IFIFO,
}
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_ID_MAX = (1 << 32) - 2
_MAJOR_MAX = (1 << 12) - 1
_MINOR_MAX = (1 << 20) - 1
_SIZE_MAX = (1 << 63) - 1

# What nearly every writer makes: mode, uid, gid, size, mtime, checksum; octal and terminated.
_COMMON_NUMBERS = re.compile(
    rb"([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0([0-7]{11})\0([0-7]{6})\0 "
).match


class Header(NamedTuple):
    """A header block's own fields; `type` is the type flag's byte, `mtime` counts seconds."""

    type: int
    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes


def read_header(block: bytes) -> Header:
    """The fields of a 512-byte block whose checksum holds. Raises ValueError."""
    common = _COMMON_NUMBERS(block, 100)
    if common is not None:
        mode, uid, gid, size, mtime, stored = [int(field, 8) for field in common.groups()]
    else:
        stored = _checksum_field(block)
    if stored != checksum(block) and stored != signed_checksum(block):
        raise ValueError("the header's checksum is wrong")
    if common is None:
        mode, uid, gid = number(block[100:108]), number(block[108:116]), number(block[116:124])
        size, mtime = number(block[124:136]), number(block[136:148])
        if size < 0:
            raise ValueError("the size is negative")
    name = text(block[:100])
    if block[345]:
        name = _prefixed(block, name)
    kind = block[156]
    if kind == _OLD_REGULAR and name.endswith(b"/"):
        kind = _DIRECTORY_TYPE
    return Header(kind, name, mode, uid, gid, size, mtime, text(block[157:257]))


def _checksum_field(block: bytes) -> int:
    try:
        return number(block[148:156])
    except ValueError:
        raise ValueError("the header has no checksum") from None


def _prefixed(block: bytes, name: bytes) -> bytes:
    magic = block[257:263]
    if magic == b"ustar\0":
        # star keeps times in the last bytes of the prefix.
        prefix = block[345:476] if block[508:512] == b"tar\0" else block[345:500]
        return text(prefix) + b"/" + name
    if magic == b"ustar ":
        try:
            number(block[345:357])
        except ValueError:
            # GNU has a time here; Go before 1.8 wrote a prefix all the same.
            return text(block[345:500]) + b"/" + name
    return name


class Overrides(NamedTuple):
    """What extension headers said about the entry that follows them."""

    name: bytes | None
    link: bytes | None
    pax: Mapping[bytes, bytes]


def payload_size(header: Header, values: Mapping[bytes, bytes]) -> int:
    """How many bytes of content follow the header in the stream. Raises ValueError."""
    if header.type == ord("D"):
        return header.size
    if KINDS.get(header.type) != stat.S_IFREG:
        # Some writers give a size to links and directories, and no content.
        return 0
    size = pax.integer(values[b"size"]) if values.get(b"size") else header.size
    if size > _SIZE_MAX:
        raise ValueError("the size does not fit 63 bits")
    return size


def entry_of(header: Header, block: bytes, more: Overrides, size: int, data_offset: int) -> Entry:
    """The entry that a header and its extensions describe. Raises ValueError."""
    kind = KINDS[header.type]
    values = more.pax
    name = more.name or values.get(b"path") or header.name
    if values:
        name = values.get(b"GNU.sparse.name") or name
    path = clean_path(name)
    if not path and kind != stat.S_IFDIR:
        raise ValueError("the root of a layer must be a directory")
    link = b""
    if kind in (stat.S_IFLNK, HARD_LINK):
        link = more.link or values.get(b"linkpath") or header.link
        link = symlink_target(link) if kind else clean_path(link)
        if not link:
            raise ValueError("the hard link has no target")
    major = minor = 0
    if kind in _DEVICES:
        major, minor = _device(block, values)
    uid, gid, mtime_ns = header.uid, header.gid, header.mtime * 1_000_000_000
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    if values:
        uid = pax.integer(values[b"uid"]) if values.get(b"uid") else uid
        gid = pax.integer(values[b"gid"]) if values.get(b"gid") else gid
        mtime_ns = pax.nanoseconds(values[b"mtime"]) if values.get(b"mtime") else mtime_ns
        xattrs = pax.xattrs(values)
    if not (0 <= uid <= _ID_MAX and 0 <= gid <= _ID_MAX):
        raise ValueError(f"owner {uid}:{gid} does not fit 32 bits")
    return Entry(
        path,
        kind,
        header.mode & 0o7777,
        uid,
        gid,
        size,
        clamp_ns(mtime_ns),
        link,
        major,
        minor,
        xattrs,
        data_offset,
    )


def _device(block: bytes, values: Mapping[bytes, bytes]) -> tuple[int, int]:
    major, minor = values.get(b"SCHILY.devmajor"), values.get(b"SCHILY.devminor")
    numbers = (
        pax.integer(major) if major else number(block[329:337]),
        pax.integer(minor) if minor else number(block[337:345]),
    )
    if not (0 <= numbers[0] <= _MAJOR_MAX and 0 <= numbers[1] <= _MINOR_MAX):
        raise ValueError(f"device {numbers[0]}:{numbers[1]} is out of Linux's range")
    return numbers


def sparse_header_runs(block: bytes) -> pax.Runs:
    """The four runs that an old GNU sparse header holds. Raises ValueError."""
    return _runs(block, 386, 4)


def sparse_block_runs(block: bytes) -> pax.Runs:
    """The 21 runs of a continuation block of an old GNU sparse header. Raises ValueError."""
    return _runs(block, 0, 21)


def _runs(block: bytes, start: int, count: int) -> pax.Runs:
    found: pax.Runs = []
    for at in range(start, start + 24 * count, 24):
        if not block[at]:
            break
        found.append((number(block[at : at + 12]), number(block[at + 12 : at + 24])))
    return found
