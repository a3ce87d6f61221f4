"""POSIX ACLs: from the text that tars carry to the bytes of an xattr. Resolves no names.

Sources: star(5) SCHILY.acl.access, acl(5) text forms, linux/posix_acl_xattr.h (version 2).
"""

from __future__ import annotations

import re
import struct

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_NO_ID = 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_TAGS = {
    b"u": (_USER_OBJ, _USER),
    b"user": (_USER_OBJ, _USER),
    b"g": (_GROUP_OBJ, _GROUP),
    b"group": (_GROUP_OBJ, _GROUP),
    b"m": (_MASK, None),
    b"mask": (_MASK, None),
    b"o": (_OTHER, None),
    b"other": (_OTHER, None),
}
_PERMISSIONS = re.compile(rb"[rwx-]{1,3}")
_BITS = {ord("r"): 4, ord("w"): 2, ord("x"): 1, ord("-"): 0}


def acl_xattr(text: bytes) -> bytes | None:
    """The xattr value of an ACL text; None where it names somebody without giving a number.

    Entries are separated by commas or newlines: `user::rwx`, `user:lisa:r-x:502`, `user:502:r-x`.
    Raises ValueError for what is no ACL.
    """
    entries: list[tuple[int, int, int]] = []
    for line in text.replace(b",", b"\n").split(b"\n"):
        entry = line.partition(b"#")[0].strip()
        if not entry:
            continue
        parsed = _entry(entry)
        if parsed is None:
            return None
        entries.append(parsed)
    required = {_USER_OBJ, _GROUP_OBJ, _OTHER}
    if not required <= {tag for tag, _, _ in entries}:
        raise ValueError("the ACL lacks its owner, group or other entry")
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _entry(entry: bytes) -> tuple[int, int, int] | None:
    fields = entry.split(b":")
    if fields[0] in (b"mask", b"m", b"other", b"o") and len(fields) == 2:
        fields.insert(1, b"")
    if fields[0] not in _TAGS or len(fields) not in (3, 4):
        raise ValueError(f"{entry!r} is no ACL entry")
    owner_tag, named_tag = _TAGS[fields[0]]
    permissions = fields[2].strip()
    if not _PERMISSIONS.fullmatch(permissions):
        raise ValueError(f"{entry!r} has no permissions that an ACL knows")
    bits = 0
    for letter in permissions:
        bits |= _BITS[letter]
    if not fields[1]:
        return owner_tag, bits, _NO_ID
    if named_tag is None:
        raise ValueError(f"{entry!r} is no ACL entry")
    name = fields[3] if len(fields) == 4 else fields[1]
    if not name.isdigit():
        return None
    if int(name) >= _NO_ID:
        raise ValueError(f"{entry!r} is no ACL entry: its number is too big")
    return named_tag, bits, int(name)
