"""The dialects by the names that mount records keep. Decides nothing."""

from __future__ import annotations

from imagefs.errors import UnsupportedError
from imagefs.upper.dialect import Dialect, OverlayDialect
from imagefs.upper.userdialect import UserDialect

_DIALECTS: dict[str, type[Dialect]] = {"overlay": OverlayDialect, "user": UserDialect}


def dialect_named(name: str) -> Dialect:
    """The dialect `overlay` (root's) or `user`; UnsupportedError for one of a newer imagefs."""
    if name not in _DIALECTS:
        raise UnsupportedError(f"upper dialect {name!r}: unknown here: use a newer imagefs")
    return _DIALECTS[name]()
