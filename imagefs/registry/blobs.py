"""What a blob is to a transport, and readers that verify themselves. Does no I/O of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import NamedTuple, Protocol

from imagefs.errors import ImagefsError
from imagefs.oci.digest import Digest

#: The largest manifest or index that is read (distribution-spec, "Pushing Manifests").
MANIFEST_LIMIT = 4 << 20
#: The largest blob that is read into memory as a whole: configs and small artifacts.
SMALL_BLOB_LIMIT = 16 << 20


class ContentError(ImagefsError):
    """Bytes that are not what their descriptor promises: wrong digest, wrong size, too large."""


class BlobRef(Protocol):
    """The part of a descriptor that finds and proves a blob."""

    @property
    def digest(self) -> Digest:
        """Digest of the blob's bytes."""

    @property
    def size(self) -> int:
        """Size of the blob in bytes."""


class BlobInfo(NamedTuple):
    """Digest and size in bytes of a blob that was stored."""

    digest: Digest
    size: int


class Verifier:
    """Counts and hashes a blob's bytes as they pass; raises ContentError at the first too many."""

    def __init__(self, ref: BlobRef, where: str) -> None:
        self._ref = ref
        self._where = where
        self._hasher = ref.digest.hasher()
        self.seen = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.seen += len(data)
        if self.seen > self._ref.size:
            raise ContentError(
                f"{self._where}: blob {self._ref.digest} is larger than the {self._ref.size} bytes "
                "its descriptor promises"
            )
        self._hasher.update(data)

    def finish(self) -> None:
        """Prove the whole; raises ContentError for a short or different blob."""
        if self.seen != self._ref.size:
            raise ContentError(
                f"{self._where}: blob {self._ref.digest} ended after {self.seen} "
                f"of {self._ref.size} bytes"
            )
        found = self._hasher.hexdigest()
        if found != self._ref.digest.hex:
            raise ContentError(
                f"{self._where}: blob {self._ref.digest} has wrong content "
                f"({self._ref.digest.algorithm}:{found})"
            )


def verify_bytes(raw: bytes, digest: Digest, where: str, what: str) -> None:
    """Raise ContentError unless `raw` has `digest`."""
    found = Digest.of(raw, digest.algorithm)
    if found != digest:
        raise ContentError(f"{where}: {what} {digest} has wrong content ({found})")


async def verified(
    chunks: AsyncIterable[bytes], ref: BlobRef, where: str
) -> AsyncGenerator[bytes, None]:
    """`chunks`, proved at their end: the last step raises ContentError if the blob was another."""
    verifier = Verifier(ref, where)
    async for chunk in chunks:
        verifier.feed(chunk)
        yield chunk
    verifier.finish()


def check_small(ref: BlobRef, where: str) -> None:
    """Raise ContentError if the blob is too large to be held in memory."""
    if ref.size > SMALL_BLOB_LIMIT:
        raise ContentError(
            f"{where}: blob {ref.digest} of {ref.size} bytes is larger than the "
            f"{SMALL_BLOB_LIMIT} bytes that a document may have"
        )


def check_range(ref: BlobRef, offset: int, length: int) -> None:
    """Raise ValueError for a range that does not lie in the blob: a caller's mistake, not input."""
    if offset < 0 or length < 0 or offset + length > ref.size:
        raise ValueError(f"range {offset}+{length} is outside a blob of {ref.size} bytes")
