"""PAX extended headers: records, and what they say about an entry. Knows no blocks, no streams.

Sources: POSIX.1-2017 pax "pax Extended Header"; GNU tar manual "Storing Sparse Files"; star(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from imagefs.formats.acl import acl_xattr
from imagefs.formats.tarfields import clamp_ns

Runs = list[tuple[int, int]]

_XATTR = b"SCHILY.xattr."
_ACLS = {
    b"SCHILY.acl.access": b"system.posix_acl_access",
    b"SCHILY.acl.default": b"system.posix_acl_default",
}
_SPARSE_OFFSET = b"GNU.sparse.offset"
_SPARSE_LENGTH = b"GNU.sparse.numbytes"
_SPARSE_MAP = b"GNU.sparse.map"
_XATTR_NAME_MAX = 255
_XATTR_VALUE_MAX = 1 << 16
_RECORD = re.compile(rb"([0-9]{1,20}) ")
_TIME = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
_NUMBER = re.compile(rb"[0-9]{1,20}")


def records(payload: bytes) -> list[tuple[bytes, bytes]]:
    """The (key, value) records of an extended header in their order. Raises ValueError."""
    found: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(payload):
        match = _RECORD.match(payload, position)
        if match is None:
            raise ValueError("a PAX record does not start with its length")
        end = position + int(match[1])
        key, equals, value = payload[match.end() : end - 1].partition(b"=")
        if end > len(payload) or end <= match.end() or payload[end - 1 : end] != b"\n":
            raise ValueError("a PAX record is not as long as it says")
        if not equals or not key:
            raise ValueError("a PAX record has no key")
        found.append((key, value))
        position = end
    return found


def merged(own: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The records of an entry, the last of each key.

    The pairs of sparse format 0.0, which repeat their keys, become one map as in 0.1.
    """
    result: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    for key, value in own:
        if key in (_SPARSE_OFFSET, _SPARSE_LENGTH):
            if (key == _SPARSE_LENGTH) != len(pairs) % 2:
                raise ValueError("the sparse map is out of order")
            pairs.append(value)
        else:
            result[key] = value
    if pairs:
        result[_SPARSE_MAP] = b",".join(pairs)
    return result


def integer(value: bytes) -> int:
    """A decimal number that is not negative. Raises ValueError."""
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is not a number")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """A time in seconds; digits below a nanosecond are dropped. Raises ValueError."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError(f"{value[:40]!r} is not a time")
    fraction = (match[3] or b"")[:9].ljust(9, b"0")
    total = int(match[2]) * 1_000_000_000 + int(fraction)
    return clamp_ns(-total if match[1] else total)


def xattrs(values: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes, ACLs among them. Raises ValueError.

    An ACL that names users without numbers is left out: only the image's own passwd could tell.
    """
    found: dict[bytes, bytes] = {}
    for key, name in _ACLS.items():
        converted = acl_xattr(values[key]) if values.get(key) else None
        if converted is not None:
            found[name] = converted
    for key, value in values.items():
        if key.startswith(_XATTR):
            name = key[len(_XATTR) :]
            if not 0 < len(name) <= _XATTR_NAME_MAX or b"\0" in name:
                raise ValueError(f"{name[:40]!r} is no name of an extended attribute")
            if len(value) > _XATTR_VALUE_MAX:
                raise ValueError(f"extended attribute {name!r} is longer than 64 KiB")
            found[name] = value
    return tuple(found.items())


def is_sparse(values: Mapping[bytes, bytes]) -> bool:
    """Whether the records describe a sparse file of any of the three PAX formats."""
    return _SPARSE_MAP in values or b"GNU.sparse.major" in values or b"GNU.sparse.size" in values


def sparse_size(values: Mapping[bytes, bytes]) -> int:
    """The size that a sparse file has when it is expanded. Raises ValueError."""
    value = values.get(b"GNU.sparse.realsize") or values.get(b"GNU.sparse.size")
    if not value:
        raise ValueError("the sparse file does not say its size")
    return integer(value)


def sparse_map(values: Mapping[bytes, bytes]) -> Runs | None:
    """The runs of data of formats 0.0 and 0.1; None for 1.0, whose map leads the content.

    Raises ValueError.
    """
    version = values.get(b"GNU.sparse.major", b"0"), values.get(b"GNU.sparse.minor", b"0")
    if version == (b"1", b"0"):
        return None
    if version not in ((b"0", b"0"), (b"0", b"1")):
        raise ValueError("the version of the sparse format is unknown")
    packed = values.get(_SPARSE_MAP, b"")
    return paired([integer(value) for value in packed.split(b",")] if packed else [])


def paired(numbers: list[int]) -> Runs:
    """Numbers taken two by two. Raises ValueError."""
    if len(numbers) % 2:
        raise ValueError("the sparse map has an odd number of values")
    return list(zip(numbers[::2], numbers[1::2], strict=True))
