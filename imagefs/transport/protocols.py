"""The two seams images come and go through: ImageSource and ImageDestination. No code, only shapes.

Both are async because a registry is slow; a source of local files answers at once but checkpoints.
Absent things raise NotFoundError, bytes that do not fit their digest ContentError.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from imagefs.oci.digest import Digest
from imagefs.registry.blobs import BlobInfo, BlobRef, ContentError

__all__ = [
    "BlobInfo",
    "BlobRef",
    "ContentError",
    "ImageDestination",
    "ImageSource",
    "ListsReferrers",
    "ListsTags",
]


class ImageSource(Protocol):
    """One image (or a list of images for several platforms) that can be read."""

    @property
    def name(self) -> str:
        """The canonical name, as users would type it; what `mount_blob` takes."""

    async def manifest(self, digest: Digest | None = None) -> tuple[bytes, str]:
        """Raw bytes and media type: of the image itself, or of one of its manifests by digest.

        Verified against the digest, where one is known.
        """

    async def blob(self, ref: BlobRef) -> bytes:
        """A small blob as a whole (at most 16 MiB), verified."""

    def open_blob(self, ref: BlobRef) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The whole blob in pieces; ContentError from the iterator's end if it was another."""

    async def pread(self, ref: BlobRef, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`, not verified: the caller knows digests of its parts.

        Raises ValueError for a range outside the blob.
        """

    async def aclose(self) -> None:
        """Give back connections and files. Idempotent."""


@runtime_checkable
class ListsTags(Protocol):
    """A source that can list the tags beside its image."""

    async def tags(self) -> list[str]:
        """All tags of the repository or layout, sorted."""


@runtime_checkable
class ListsReferrers(Protocol):
    """A source that knows which artifacts refer to an image."""

    async def referrers(self, digest: Digest) -> list[dict[str, object]]:
        """Descriptors (as JSON objects) of the manifests whose subject is `digest`."""


class ImageDestination(Protocol):
    """A place for one image: blobs first, then manifests, then commit.

    Nothing shows under the image's name before its manifest is whole; an aborted write leaves at
    most blobs that nothing refers to.
    """

    @property
    def name(self) -> str:
        """The canonical name of the image that is written."""

    async def has_blob(self, ref: BlobRef) -> bool:
        """Whether the blob is there already."""

    async def mount_blob(self, ref: BlobRef, source_name: str) -> bool:
        """Take the blob over from another image at the same place without a transfer.

        `source_name` is that image's canonical name. False: not possible, send the bytes.
        """

    async def put_blob(self, chunks: AsyncIterable[bytes], ref: BlobRef | None) -> BlobInfo:
        """Store a blob, atomically and idempotently; with `ref` it is verified (ContentError).

        Without `ref` digest (sha256) and size are computed on the way. Closing `chunks` is left to
        the caller.
        """

    async def put_manifest(self, raw: bytes, media_type: str, digest: Digest | None = None) -> None:
        """Store a manifest: the image's own, or with `digest` one that an index refers to."""

    async def commit(self) -> None:
        """Make the image visible under its name, durably."""

    async def aclose(self) -> None:
        """Give back connections and files, drop what was not committed. Idempotent."""
