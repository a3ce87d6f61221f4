"""The copy-on-write engine over an upper directory. Never waits; knows no FUSE and no network."""

from imagefs.upper.engine import Engine
from imagefs.upper.journal import Journal
from imagefs.upper.types import (
    BORN,
    EXCHANGE,
    NOREPLACE,
    Caller,
    CopyUp,
    DirEntry,
    SetAttr,
    Squash,
    Stat,
)
from imagefs.upper.upperdir import UpperDir

__all__ = [
    "BORN",
    "EXCHANGE",
    "NOREPLACE",
    "Caller",
    "CopyUp",
    "DirEntry",
    "Engine",
    "Journal",
    "SetAttr",
    "Squash",
    "Stat",
    "UpperDir",
]
