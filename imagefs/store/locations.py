"""Which image names were seen to have a layer blob. Asks nobody, keeps no secret."""

from __future__ import annotations

import time

from imagefs.oci.digest import Digest
from imagefs.store.core import Core


class Locations:
    """The known sources of blobs; forgotten by gc with the last layer of the blob."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def add(self, blob: Digest, source: str) -> None:
        """Note that `source`, a name with transport, has `blob`. Idempotent."""
        self._core.db.run(
            "INSERT INTO locations VALUES (?1, ?2, ?3) "
            "ON CONFLICT (blob, source) DO UPDATE SET seen_ns = ?3",
            (str(blob), source, time.time_ns()),
        )

    def get(self, blob: Digest) -> list[str]:
        """The sources of `blob`, the latest first; empty if none is known."""
        rows = self._core.db.rows(
            "SELECT source FROM locations WHERE blob = ? ORDER BY seen_ns DESC, source",
            (str(blob),),
        )
        return [str(source) for (source,) in rows]

    def remove(self, blob: Digest, source: str) -> None:
        """Forget that `source` has `blob`. Idempotent."""
        self._core.db.run(
            "DELETE FROM locations WHERE blob = ? AND source = ?", (str(blob), source)
        )
