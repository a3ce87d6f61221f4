"""Which compressed blob a layer became when it was pushed. Keeps no bytes, compresses nothing."""

from __future__ import annotations

from imagefs.oci.digest import Digest
from imagefs.store.core import Core


class Packed:
    """(digest, size) of the blobs that layers made here were compressed to."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def add(self, blob: Digest, how: str, packed: Digest, size: int) -> None:
        """Note that `blob`, compressed in the way `how` names, is `packed`. Idempotent."""
        self._core.db.run(
            "INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?)",
            (str(blob), how, str(packed), size),
        )

    def get(self, blob: Digest, how: str) -> tuple[Digest, int] | None:
        """What `blob` became in that way; None if it is not known."""
        row = self._core.db.row(
            "SELECT packed, size FROM packed WHERE blob = ? AND how = ?", (str(blob), how)
        )
        if row is None:
            return None
        packed, size = row
        assert isinstance(size, int)
        return Digest.parse(str(packed)), size
