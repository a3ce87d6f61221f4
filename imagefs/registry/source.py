"""`docker://` as a source: an image at a registry or at one of its mirrors. Never writes anything.

An image has candidates (a short name may mean several), each with places: mirrors in order, then
the registry. The first place that has the manifest is asked first from then on; the candidate is
settled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import trio

from imagefs.errors import ImagefsError
from imagefs.oci.digest import Digest
from imagefs.registry.blobs import BlobRef, ContentError, check_range, check_small, verified
from imagefs.registry.client import Attempts
from imagefs.registry.errors import ConnectionLost, RegistryError
from imagefs.registry.place import Place

T = TypeVar("T")


class RegistrySource:
    """An ImageSource that also lists tags and referrers."""

    def __init__(self, candidates: Sequence[Sequence[Place]]) -> None:
        self._candidates = [list(places) for places in candidates]
        self._settled = len(candidates) == 1

    @property
    def name(self) -> str:
        """`docker://HOST/REPOSITORY:TAG`, as the user named it, with the registry filled in."""
        return f"docker://{self._candidates[0][0].name}"

    @property
    def has_ranges(self) -> bool:
        """False once the registry has answered a range with the whole blob: then stream it."""
        return self._candidates[0][0].has_ranges

    async def manifest(self, digest: Digest | None = None) -> tuple[bytes, str]:
        """See ImageSource. Settles which candidate and which place the image comes from."""
        errors: list[ImagefsError] = []
        for index, places in enumerate(self._candidates):
            try:
                found = await self._first(places, lambda place: place.manifest(digest))
            except (RegistryError, ContentError) as error:
                errors.append(error)
                continue
            if not self._settled:
                await self._settle(index)
            return found
        raise _all_failed(errors)

    async def blob(self, ref: BlobRef) -> bytes:
        """See ImageSource."""
        check_small(ref, self.name)
        async with self.open_blob(ref) as pieces:
            return b"".join([piece async for piece in pieces])

    @asynccontextmanager
    async def open_blob(self, ref: BlobRef) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ImageSource; a transfer that breaks goes on where it stopped."""
        async with (
            aclosing(self._range(ref, 0, ref.size, patient=True)) as pieces,
            aclosing(verified(pieces, ref, self.name)) as proved,
        ):
            yield proved

    async def pread(self, ref: BlobRef, offset: int, length: int) -> bytes:
        """See ImageSource; waits for the retry budget."""
        check_range(ref, offset, length)
        async with aclosing(self._range(ref, offset, offset + length, patient=True)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def tags(self) -> list[str]:
        """See ListsTags."""
        return await self._first(self._candidates[0], lambda place: place.tags())

    async def referrers(self, digest: Digest) -> list[dict[str, object]]:
        """See ListsReferrers; asked of the registry itself, which mirrors may lag behind."""
        own = [place for place in self._candidates[0] if place.reference == place.name]
        return await (own or self._candidates[0])[-1].referrers(digest)

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        for places in self._candidates:
            for place in places:
                await place.client.aclose()

    async def _settle(self, index: int) -> None:
        chosen = self._candidates[index]
        others = [places for places in self._candidates if places is not chosen]
        self._candidates = [chosen]
        self._settled = True
        for places in others:
            for place in places:
                await place.client.aclose()

    async def _first(self, places: list[Place], ask: Callable[[Place], Awaitable[T]]) -> T:
        """The first place's answer that is one; that place is then asked first."""
        errors: list[ImagefsError] = []
        for place in list(places):
            try:
                answer = await ask(place)
            except (RegistryError, ContentError) as error:
                errors.append(error)
                continue
            places.remove(place)
            places.insert(0, place)
            return answer
        raise _all_failed(errors)

    async def _range(
        self, ref: BlobRef, start: int, end: int, patient: bool
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of [start, end) as they arrive, exactly as many, in as many tries as needed.

        The last place gets the whole budget; the ones before it a few tries each.
        """
        if start == end:
            await trio.lowlevel.checkpoint()
            return
        places = list(self._candidates[0])
        while True:
            place = places[0]
            last = len(places) == 1
            attempts = place.client.attempts(patient and last)
            try:
                pieces = _from_place(place, ref, start, end, attempts)
                async with aclosing(pieces):
                    async for piece in pieces:
                        start += len(piece)
                        yield piece
                return
            except (RegistryError, ContentError):
                if last:
                    raise
                places.pop(0)


async def _from_place(
    place: Place, ref: BlobRef, start: int, end: int, attempts: Attempts
) -> AsyncGenerator[bytes, None]:
    """[start, end) from one place; a body that ends early is asked for again from there."""
    while True:
        response, skip = await place.blob_range(ref, start, end, attempts)
        error: RegistryError
        try:
            async with aclosing(response.pieces()) as pieces:
                async for piece in pieces:
                    useful = piece[skip:][: end - start]
                    skip = max(0, skip - len(piece))
                    if useful:
                        attempts.progress()
                        start += len(useful)
                        yield useful
                    if start == end:
                        return
            error = ConnectionLost(
                f"{place.name}: blob {ref.digest} ended after {start} of {ref.size} bytes"
            )
        except ConnectionLost as lost:
            error = ConnectionLost(f"{lost}, {start} of {ref.size} bytes of {ref.digest} came")
        except RegistryError as failed:
            error = failed
        finally:
            await response.aclose()
        await attempts.again(error)


def _all_failed(errors: list[ImagefsError]) -> ImagefsError:
    """The last place's error (the registry's own), with what the others said."""
    last = errors[-1]
    if len(errors) > 1:
        others = "; ".join(str(error) for error in errors[:-1])
        last.args = (f"{last} (tried before: {others})",)
    return last
