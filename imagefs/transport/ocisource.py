"""`oci:` as a source: images of an OCI image layout, read in place. Never locks, never writes.

Blobs appear by rename and index.json is replaced by rename, so that a reader needs no lock.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from imagefs.oci.digest import Digest
from imagefs.registry.blobs import (
    MANIFEST_LIMIT,
    BlobRef,
    ContentError,
    check_range,
    check_small,
    verified,
    verify_bytes,
)
from imagefs.transport.layout import (
    LayoutError,
    LayoutIOError,
    LayoutName,
    LayoutNotFound,
    check_layout,
    choose,
    media_type_of,
    parse_index,
    ref_name,
)

_PIECE = 1 << 20


class OciLayoutSource:
    """An image of a layout; an ImageSource that also lists tags and referrers."""

    def __init__(self, name: LayoutName) -> None:
        self._name = name.absolute()
        self._directory = Path(self._name.directory)

    @property
    def name(self) -> str:
        """`oci:DIR[:REF]`, DIR absolute."""
        return str(self._name)

    async def manifest(self, digest: Digest | None = None) -> tuple[bytes, str]:
        """The image's manifest or index, or one by digest; verified."""
        await trio.lowlevel.checkpoint()
        index = self._index()
        if digest is None:
            entry = choose(index, self._name)
        else:
            listed = [item for item in index["manifests"] if item["digest"] == str(digest)]
            entry = listed[0] if listed else {"digest": str(digest)}
        wanted = Digest.parse(entry["digest"])
        raw = self._read(self._blob_path(wanted), MANIFEST_LIMIT, f"manifest {wanted}")
        verify_bytes(raw, wanted, self.name, "manifest")
        declared = entry.get("mediaType")
        return raw, declared if isinstance(declared, str) else media_type_of(raw, self.name)

    async def blob(self, ref: BlobRef) -> bytes:
        """A small blob, verified."""
        check_small(ref, self.name)
        async with self.open_blob(ref) as pieces:
            return b"".join([piece async for piece in pieces])

    @asynccontextmanager
    async def open_blob(self, ref: BlobRef) -> AsyncIterator[AsyncIterator[bytes]]:
        """The blob in pieces of 1 MiB, verified at the end."""
        fd = self._open(ref)
        try:
            async with (
                aclosing(_pieces(fd)) as pieces,
                aclosing(verified(pieces, ref, self.name)) as proved,
            ):
                yield proved
        finally:
            os.close(fd)

    async def pread(self, ref: BlobRef, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`."""
        check_range(ref, offset, length)
        await trio.lowlevel.checkpoint()
        fd = self._open(ref)
        try:
            data = os.pread(fd, length, offset)
            while len(data) < length:
                more = os.pread(fd, length - len(data), offset + len(data))
                if not more:
                    raise ContentError(
                        f"{self.name}: blob {ref.digest} is shorter than its {ref.size} bytes"
                    )
                data += more
        except OSError as error:
            raise LayoutIOError(f"{self.name}: blob {ref.digest}", error) from None
        finally:
            os.close(fd)
        return data

    async def tags(self) -> list[str]:
        """The ref names of the layout."""
        await trio.lowlevel.checkpoint()
        return sorted({name for entry in self._index()["manifests"] if (name := ref_name(entry))})

    async def referrers(self, digest: Digest) -> list[dict[str, object]]:
        """Listed manifests whose subject is `digest`."""
        found: list[dict[str, object]] = []
        for entry in self._index()["manifests"]:
            await trio.lowlevel.checkpoint()
            raw, _ = await self.manifest(Digest.parse(entry["digest"]))
            document = json.loads(raw)
            subject = document.get("subject") if isinstance(document, dict) else None
            if isinstance(subject, dict) and subject.get("digest") == str(digest):
                artifact = document.get("artifactType")
                found.append({**entry, **({"artifactType": artifact} if artifact else {})})
        return found

    async def aclose(self) -> None:
        """Nothing is held open between calls."""
        await trio.lowlevel.checkpoint()

    def _index(self) -> dict[str, Any]:
        check_layout(self._directory, self.name)
        raw = self._read(self._directory / "index.json", MANIFEST_LIMIT, "index.json")
        return parse_index(raw, self.name)

    def _blob_path(self, digest: Digest) -> Path:
        return self._directory / "blobs" / digest.algorithm / digest.hex

    def _open(self, ref: BlobRef) -> int:
        path = self._blob_path(ref.digest)
        fd, size = _open_regular(path, f"{self.name}: blob {ref.digest}")
        if size != ref.size:
            os.close(fd)
            raise ContentError(
                f"{self.name}: blob {ref.digest} has {size} bytes, its descriptor says {ref.size}"
            )
        return fd

    def _read(self, path: Path, limit: int, what: str) -> bytes:
        fd, size = _open_regular(path, f"{self.name}: {what}")
        with os.fdopen(fd, "rb") as file:
            if size > limit:
                raise ContentError(f"{self.name}: {what} is larger than {limit} bytes")
            return file.read(limit)


def _open_regular(path: Path, what: str) -> tuple[int, int]:
    try:
        # A FIFO in a hostile layout would block the open without O_NONBLOCK.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise LayoutNotFound(f"{what}: not in the layout") from None
    except OSError as error:
        raise LayoutIOError(what, error) from None
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise LayoutError(f"{what}: not a regular file")
    return fd, info.st_size


async def _pieces(fd: int) -> AsyncGenerator[bytes, None]:
    while True:
        await trio.lowlevel.checkpoint()
        piece = os.read(fd, _PIECE)
        if not piece:
            return
        yield piece
