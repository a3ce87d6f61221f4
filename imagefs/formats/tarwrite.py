"""Tar headers for a layer we make: ustar where it suffices, PAX where not. Writes nothing itself.

The same entry always gives the same bytes: no user or group names, no access times, and extended
headers that carry no time of their own. Source: POSIX.1-2017 pax.
"""

from __future__ import annotations

import stat

from imagefs.formats.index import Entry, FormatError
from imagefs.formats.tarfields import BLOCK, ZERO_BLOCK, checksum

_TYPES = {
    stat.S_IFREG: b"0",
    0: b"1",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_NAME_MAX = 100
_ID_LIMIT = 8**7
_LONG_LIMIT = 8**11
_SECOND = 1_000_000_000
_PAX_NAME = b"PaxHeaders.0/"


class TarWriter:
    """Gives the bytes around the contents: header and padding of each entry, then the end."""

    def header(self, entry: Entry) -> bytes:
        """The header blocks of an entry, its extended header first where one is needed.

        A hard link carries its target in `link` and has no content. Raises FormatError for what no
        tar can say, sockets for example.
        """
        kind = _TYPES.get(entry.kind)
        if kind is None:
            raise FormatError(f"tar: {entry.path!r} is of a kind that layers cannot hold")
        name = entry.path or b"."
        if entry.kind == stat.S_IFDIR:
            name += b"/"
        size = entry.size if entry.kind == stat.S_IFREG else 0
        records = _records(entry, name, size)
        return _extended(entry.path, records) + _block(entry, kind, name, size)

    def padding(self, size: int) -> bytes:
        """What follows a content of `size` bytes."""
        return bytes(-size % BLOCK)

    def end(self) -> bytes:
        """What ends the archive."""
        return 2 * ZERO_BLOCK


def _records(entry: Entry, name: bytes, size: int) -> list[tuple[bytes, bytes]]:
    records: list[tuple[bytes, bytes]] = []
    if not _fits(name):
        records.append((b"path", name))
    if not _fits(entry.link):
        records.append((b"linkpath", entry.link))
    if any(not _is_utf8(value) for _, value in records):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    if size >= _LONG_LIMIT:
        records.append((b"size", b"%d" % size))
    records += [
        (key, b"%d" % number)
        for key, number in ((b"uid", entry.uid), (b"gid", entry.gid))
        if number >= _ID_LIMIT
    ]
    if entry.mtime_ns % _SECOND or not 0 <= entry.mtime_ns < _LONG_LIMIT * _SECOND:
        records.append((b"mtime", _time(entry.mtime_ns)))
    for key, value in sorted(entry.xattrs):
        if b"=" in key:
            raise FormatError(f"tar: {entry.path!r}: no tar can hold an xattr named {key!r}")
        records.append((b"SCHILY.xattr." + key, value))
    return records


def _fits(name: bytes) -> bool:
    return len(name) <= _NAME_MAX and name.isascii()


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _time(ns: int) -> bytes:
    seconds, fraction = divmod(abs(ns), _SECOND)
    text = b"%s%d" % (b"-" if ns < 0 else b"", seconds)
    return text + (b".%09d" % fraction).rstrip(b"0") if fraction else text


def _extended(path: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    if not records:
        return b""
    body = b"".join(_record(key, value) for key, value in records)
    last = path.rpartition(b"/")[2]
    plain = last.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "_").encode()
    name = (_PAX_NAME + plain)[:_NAME_MAX]
    header = _block(Entry(b"", stat.S_IFREG, 0o644), b"x", name, len(body))
    return header + body + bytes(-len(body) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """A length that counts itself, a space, key=value and a newline."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)


def _octal(value: int, width: int) -> bytes:
    """A number in a field; 0 where an extended header has to say it."""
    return b"%0*o\0" % (width - 1, value if 0 <= value < 8 ** (width - 1) else 0)


def _block(entry: Entry, kind: bytes, name: bytes, size: int) -> bytes:
    seconds = entry.mtime_ns // _SECOND
    block = b"".join(
        (
            name[:_NAME_MAX].ljust(_NAME_MAX, b"\0"),
            _octal(entry.mode & 0o7777, 8),
            _octal(entry.uid, 8),
            _octal(entry.gid, 8),
            _octal(size, 12),
            _octal(seconds, 12),
            b"        ",
            kind,
            entry.link[:_NAME_MAX].ljust(_NAME_MAX, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _octal(entry.major, 8),
            _octal(entry.minor, 8),
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % checksum(block) + block[156:]
