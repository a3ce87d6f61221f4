"""Where a layer's blob can be read from: the places that are known to have it, tried in turn.

Opens a source when it is first needed, so that what is in the store costs no connection.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

from imagefs.errors import ImagefsError
from imagefs.registry.blobs import BlobRef
from imagefs.transport import ImageSource

log = logging.getLogger(__name__)

T = TypeVar("T")


class NoSource(ImagefsError):
    """A blob that no known place has."""


class BlobStream(Protocol):
    """What reading a blob from its start needs of the outside."""

    def open_blob(self, blob: BlobRef) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """All bytes of the blob, whose digest is verified at the end."""
        ...


class BlobReader(BlobStream, Protocol):
    """What fetching needs of the outside."""

    async def pread(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """Exactly `length` unverified bytes; raises ImagefsError, `retryable` if it may pass."""
        ...

    def blame(self) -> bool:
        """The bytes that came last were wrong. True: there is another place to ask now."""
        ...


class Sources:
    """The places of one blob as one `BlobReader`; each is opened once and kept."""

    def __init__(self, names: Sequence[str], opener: Callable[[str], ImageSource]) -> None:
        self._names = list(names)
        self._opener = opener
        self._open: dict[str, ImageSource] = {}
        self._answered = ""

    async def pread(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """`length` bytes at `offset` of `blob` from the first place that gives them."""

        async def read(source: ImageSource) -> bytes:
            return await source.pread(blob, offset, length)

        return await self._first(blob, read)

    @asynccontextmanager
    async def open_blob(self, blob: BlobRef) -> AsyncIterator[AsyncIterator[bytes]]:
        """The whole of `blob` from the first place that has it."""

        async def check(source: ImageSource) -> ImageSource:
            await source.pread(blob, 0, min(1, blob.size))
            return source

        only = len(self._names) == 1
        source = self._source(self._names[0]) if only else await self._first(blob, check)
        async with source.open_blob(blob) as chunks:
            yield chunks

    def blame(self) -> bool:
        """See `BlobReader`; the place that gave wrong bytes is not asked again."""
        others = [name for name in self._names if name != self._answered]
        if not others:
            return False
        log.warning("%s: wrong bytes came from there: asking elsewhere", self._answered)
        self._names = others
        return True

    async def aclose(self) -> None:
        """Close what was opened."""
        for source in self._open.values():
            await source.aclose()

    async def _first(self, blob: BlobRef, ask: Callable[[ImageSource], Awaitable[T]]) -> T:
        """The first answer; else the error of a place that may answer later, or of the last."""
        failure: ImagefsError | None = None
        for name in tuple(self._names):
            try:
                answer = await ask(self._source(name))
                self._answered = name
                return answer
            except ImagefsError as error:
                if failure is None or error.retryable or not failure.retryable:
                    failure = error
        raise failure or NoSource(f"blob {blob.digest}: no registry or layout is known to have it")

    def _source(self, name: str) -> ImageSource:
        if name not in self._open:
            self._open[name] = self._opener(name)
        return self._open[name]
