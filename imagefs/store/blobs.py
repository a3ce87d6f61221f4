"""Blobs by digest: manifests, configs, kept layers. Never hands out bytes it has not verified.

A blob is a read-only file blobs/ALGORITHM/HEX and a row; it is there whole or not at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagefs.oci.digest import Digest
from imagefs.store.core import Core
from imagefs.store.errors import VerifyError
from imagefs.system.atomic import Data


class BlobWriter:
    """A blob that comes in pieces; nothing of it is left unless `commit` returned."""

    def __init__(self, blobs: Blobs, path: Path, fd: int, algorithm: str) -> None:
        self._blobs = blobs
        self._path = path
        self._fd = fd
        self._algorithm = algorithm
        self._hasher = Digest.of(b"", algorithm).hasher()
        self.size = 0

    def write(self, data: Data) -> None:
        """The next bytes; raises OSError (ENOSPC)."""
        self._blobs.core.disk.write(self._fd, data)
        self._hasher.update(data)
        self.size += len(data)

    def commit(self, expected: Digest | None = None) -> Digest:
        """Publish the blob and return its digest; VerifyError unless that is `expected`."""
        digest = Digest(self._algorithm, self._hasher.hexdigest())
        if expected is not None and digest != expected:
            raise VerifyError(f"blob {expected}: its bytes have the digest {digest}")
        self._blobs.publish(digest, self.size, self._path, self._fd)
        return digest


class Blobs:
    """The blobs of a store. Absent is None."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def put(self, raw: Data, algorithm: str = "sha256") -> Digest:
        """Keep `raw`; its digest. Atomic, idempotent."""
        with self.create(algorithm) as writer:
            writer.write(raw)
            return writer.commit()

    @contextmanager
    def create(self, algorithm: str = "sha256") -> Iterator[BlobWriter]:
        """A writer for a blob that comes in pieces."""
        with self.core.scratch.file() as (path, fd):
            yield BlobWriter(self, path, fd, algorithm)

    def get(self, digest: Digest) -> bytes | None:
        """The blob's bytes, verified; VerifyError if the file is damaged, None if absent."""
        path = self.path(digest)
        if path is None:
            return None
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        if Digest.of(raw, digest.algorithm) != digest:
            raise VerifyError(f"{path}: damaged: remove the image and pull it again")
        return raw

    def path(self, digest: Digest) -> Path | None:
        """Where the blob's file is (its bytes not verified), or None if absent."""
        with self.core.leases.seeing():
            if not self.core.db.row("SELECT 1 FROM blobs WHERE digest = ?", (str(digest),)):
                return None
            self.core.leases.hold("blob", str(digest))
        return self.file(digest)

    def delete(self, digest: Digest) -> bool:
        """Forget a kept blob, whether or not something refers to it as a layer; idempotent.

        False: absent, or an image needs it as its manifest or config.
        """
        text = str(digest)
        with self.core.collecting():
            changed = self.core.db.run(
                "DELETE FROM blobs WHERE digest = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM image_blobs WHERE blob = ?1)",
                (text,),
            )
            if changed:
                self.core.disk.unlink(self.file(digest))
        return bool(changed)

    def file(self, digest: Digest) -> Path:
        """The path that a blob of this digest has, here or not."""
        return self.core.root / "blobs" / digest.algorithm / digest.hex

    def publish(self, digest: Digest, size: int, path: Path, fd: int) -> None:
        """Put the finished file at `path` in place, unless the same is there already."""
        disk, target = self.core.disk, self.file(digest)
        with self.core.publishing():
            known = self.core.db.row("SELECT 1 FROM blobs WHERE digest = ?", (str(digest),))
            if known is None or not target.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                os.fchmod(fd, 0o400)
                disk.sync(fd)
                disk.rename(path, target)
            with self.core.db.transaction():
                self.core.db.run(
                    "INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)",
                    (str(digest), size, time.time_ns()),
                )
                self.core.leases.hold("blob", str(digest))
