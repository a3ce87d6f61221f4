"""Who the command runs as: `-u`'s forms, by the container's own passwd and group. Opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imagefs.runtime.errors import CannotInvoke

_MAX_ID = (1 << 31) - 1


class User(NamedTuple):
    """Ids in the container; `name` and `home` are "" where passwd has no entry."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


class _Entry(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _Group(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(text: str, passwd: bytes, group: bytes) -> User:
    """The user that `user[:group]` means, names or numbers; "" is root.

    A number without an entry is taken as it is, with group 0. The supplementary groups are those
    that list the user, unless a group was given. CannotInvoke: no such name.
    """
    wanted, colon, wanted_group = text.partition(":")
    entry = _find_user(wanted or "0", passwd)
    groups = list(_groups(group))
    if colon and wanted_group:
        return User(entry.uid, _find_group(wanted_group, groups), (), entry.name, entry.home)
    more = tuple(g.gid for g in groups if entry.name and entry.name in g.members)
    return User(entry.uid, entry.gid, more, entry.name, entry.home)


def with_entry(passwd: bytes, user: User, home: str) -> bytes:
    """`passwd` with a line for a user who has none, as podman adds one; else as it is."""
    if user.name or not passwd:
        return passwd
    line = f"{user.uid}:*:{user.uid}:{user.gid}:container user:{home}:/bin/sh\n"
    return passwd + (b"" if passwd.endswith(b"\n") else b"\n") + line.encode()


def _find_user(wanted: str, passwd: bytes) -> _Entry:
    number = _id(wanted)
    for entry in _entries(passwd):
        if entry.name == wanted or entry.uid == number:
            return entry
    if number is None:
        raise CannotInvoke(f"unable to find user {wanted}: no matching entries in passwd file")
    return _Entry("", number, 0, "/")


def _find_group(wanted: str, groups: list[_Group]) -> int:
    number = _id(wanted)
    for group in groups:
        if wanted == group.name:
            return group.gid
    if number is None:
        raise CannotInvoke(f"unable to find group {wanted}: no matching entries in group file")
    return number


def _id(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal()):
        return None
    if int(text) > _MAX_ID:
        raise CannotInvoke(f"user or group id {text}: not between 0 and {_MAX_ID}")
    return int(text)


def _entries(passwd: bytes) -> Iterator[_Entry]:
    for fields in _lines(passwd):
        if len(fields) >= 4 and fields[2].isdecimal() and fields[3].isdecimal():
            home = fields[5] if len(fields) > 5 else ""
            yield _Entry(fields[0], int(fields[2]), int(fields[3]), home)


def _groups(group: bytes) -> Iterator[_Group]:
    for fields in _lines(group):
        if len(fields) >= 3 and fields[2].isdecimal():
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _Group(fields[0], int(fields[2]), tuple(m.strip() for m in members))


def _lines(text: bytes) -> Iterator[list[str]]:
    for line in text.decode(errors="surrogateescape").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip().split(":")
