"""What a mount of the store shows, for its server. Serves nothing itself.

All that it must know is the mount's record, so a server that takes over reads the same.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from imagefs.content.opening import open_reader
from imagefs.errors import NotFoundError
from imagefs.mount.server import Contents
from imagefs.registry.access import Credentials
from imagefs.store import Store
from imagefs.transport import Access
from imagefs.upper import Squash, UpperDir
from imagefs.upper.dialects import dialect_named


class Told(msgspec.Struct, frozen=True):
    """Which record of which store."""

    root: str
    runroot: str
    mount: str
    journal: bool = True


def open_contents(text: str, secret: bytes | None) -> Contents:
    """What the record that `text` (a Told as JSON) names shows; `secret`: Credentials as JSON."""
    told = msgspec.json.decode(text, type=Told)
    store = Store.open(Path(told.root), Path(told.runroot))
    record = store.mounts.get(told.mount)
    if record is None:
        raise NotFoundError(f"mount {told.mount}: its record is gone from {told.root}")
    creds = msgspec.json.decode(secret, type=Credentials) if secret else None
    access = Access.from_record(record.access, creds)
    squash = record.options.get("squash")
    upper = None
    if record.upper is not None:
        upper = UpperDir(record.upper, Path(record.upper).with_name("work"))
    return Contents(
        tree=store.tree(record.layers),
        reader=open_reader(store, record.layers, access, record.name),
        upper=upper,
        squash=Squash(*squash) if squash else None,
        dialect=dialect_named(record.options.get("dialect", "overlay")),
        journal=told.journal,
    )
