"""An image source and destination in memory, for tests only: it keeps everything."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import trio

from imagefs.errors import NotFoundError
from imagefs.oci.digest import Digest
from imagefs.registry.blobs import (
    BlobInfo,
    BlobRef,
    ContentError,
    Verifier,
    check_range,
    check_small,
    verified,
    verify_bytes,
)


@dataclass
class MemoryRegistry:
    """Blobs, manifests and tags in dicts; `pieces` is the size of what open_blob yields."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, tuple[bytes, str]] = field(default_factory=dict)
    names: dict[str, Digest] = field(default_factory=dict)
    pieces: int = 4096
    #: (digest, offset, length) of every pread, for tests of what is fetched.
    reads: list[tuple[Digest, int, int]] = field(default_factory=list)

    def source(self, name: str) -> MemorySource:
        """The image of that name."""
        return MemorySource(self, name)

    def destination(self, name: str) -> MemoryDestination:
        """A place for an image of that name."""
        return MemoryDestination(self, name)


class MemorySource:
    """ImageSource over a MemoryRegistry."""

    def __init__(self, registry: MemoryRegistry, name: str) -> None:
        self._registry = registry
        self.name = name

    async def manifest(self, digest: Digest | None = None) -> tuple[bytes, str]:
        """See ImageSource."""
        await trio.lowlevel.checkpoint()
        wanted = digest if digest is not None else self._registry.names.get(self.name)
        if wanted is None or wanted not in self._registry.manifests:
            raise NotFoundError(f"{self.name}: no such image")
        raw, media_type = self._registry.manifests[wanted]
        verify_bytes(raw, wanted, self.name, "manifest")
        return raw, media_type

    async def blob(self, ref: BlobRef) -> bytes:
        """See ImageSource."""
        check_small(ref, self.name)
        async with self.open_blob(ref) as pieces:
            return b"".join([piece async for piece in pieces])

    @asynccontextmanager
    async def open_blob(self, ref: BlobRef) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ImageSource."""
        async with (
            aclosing(self._pieces(self._bytes(ref))) as pieces,
            aclosing(verified(pieces, ref, self.name)) as proved,
        ):
            yield proved

    async def pread(self, ref: BlobRef, offset: int, length: int) -> bytes:
        """See ImageSource."""
        check_range(ref, offset, length)
        await trio.lowlevel.checkpoint()
        self._registry.reads.append((ref.digest, offset, length))
        data = self._bytes(ref)[offset : offset + length]
        if len(data) != length:
            raise ContentError(f"{self.name}: blob {ref.digest} is shorter than {ref.size} bytes")
        return data

    async def tags(self) -> list[str]:
        """See ListsTags."""
        await trio.lowlevel.checkpoint()
        repository = self.name.rpartition(":")[0]
        found = [name.rpartition(":") for name in self._registry.names]
        return sorted(tag for head, _, tag in found if head == repository)

    async def aclose(self) -> None:
        """See ImageSource."""
        await trio.lowlevel.checkpoint()

    def _bytes(self, ref: BlobRef) -> bytes:
        try:
            return self._registry.blobs[ref.digest]
        except KeyError:
            raise NotFoundError(f"{self.name}: blob {ref.digest} not found") from None

    async def _pieces(self, data: bytes) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(data), self._registry.pieces):
            await trio.lowlevel.checkpoint()
            yield data[start : start + self._registry.pieces]
        await trio.lowlevel.checkpoint()


class MemoryDestination:
    """ImageDestination over a MemoryRegistry."""

    def __init__(self, registry: MemoryRegistry, name: str) -> None:
        self._registry = registry
        self._top: Digest | None = None
        self.name = name

    async def has_blob(self, ref: BlobRef) -> bool:
        """See ImageDestination."""
        await trio.lowlevel.checkpoint()
        return len(self._registry.blobs.get(ref.digest, b"")) == ref.size

    async def mount_blob(self, ref: BlobRef, source_name: str) -> bool:
        """See ImageDestination."""
        return await self.has_blob(ref)

    async def put_blob(self, chunks: AsyncIterable[bytes], ref: BlobRef | None) -> BlobInfo:
        """See ImageDestination."""
        verifier = Verifier(ref, self.name) if ref is not None else None
        data = bytearray()
        async for chunk in chunks:
            if verifier is not None:
                verifier.feed(chunk)
            data += chunk
        if verifier is not None:
            verifier.finish()
        digest = ref.digest if ref is not None else Digest.of(data)
        self._registry.blobs[digest] = bytes(data)
        return BlobInfo(digest, len(data))

    async def put_manifest(self, raw: bytes, media_type: str, digest: Digest | None = None) -> None:
        """See ImageDestination."""
        await trio.lowlevel.checkpoint()
        own = digest if digest is not None else Digest.of(raw)
        verify_bytes(raw, own, self.name, "manifest")
        self._registry.manifests[own] = (raw, media_type)
        if digest is None:
            self._top = own

    async def commit(self) -> None:
        """See ImageDestination."""
        await trio.lowlevel.checkpoint()
        if self._top is None:
            raise ValueError("commit() before put_manifest()")
        self._registry.names[self.name] = self._top

    async def aclose(self) -> None:
        """See ImageDestination."""
        await trio.lowlevel.checkpoint()
