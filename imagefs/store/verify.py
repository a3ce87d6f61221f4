"""Whether bytes are those of a chunk, by the hash its index names. Keeps nothing."""

from __future__ import annotations

import hashlib

from imagefs.formats.index import LayerIndex
from imagefs.system.atomic import Data


def has_digest(index: LayerIndex, chunk: int, data: Data) -> bool:
    """Whether `data` is chunk number `chunk` of `index`: its length and its digest."""
    if len(data) != index.chunks.length[chunk]:
        return False
    if index.chunk_hash == "sha256":
        found = hashlib.sha256(data).digest()
    else:
        # Here, since a warm start that verifies nothing should not pay for it.
        from blake3 import blake3

        found = blake3(data).digest()
    return found == index.chunks.digest(chunk)
