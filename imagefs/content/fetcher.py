"""Brings missing chunks of one layer into the store. Never returns bytes and never decides what to
read.

Theory of operation. A chunk is wanted, claimed, fetched, stored; each step may find that another
task or another process did it meanwhile:

- in this process a chunk that is on its way has a `trio.Event`, and others wait for that;
- between processes a claim is a lock that dies with its holder; whoever does not get it looks again
  until the chunk is there or the lock is free.

What a range decodes to beyond the wanted chunks is stored too: it was paid for. A chunk that goes
on after a range needs the range's last span once more: its bytes are kept until the next fetch, and
a fetch of bytes that are on their way waits for them. So whoever reads a file from its beginning to
its end gets no byte twice.

A source that fails is tried again until the retry budget is used up. The budget runs from the first
failure after the last success, so that while a registry is down only the first reader waits it out
and later ones fail after one attempt. A failure that none has followed for as long as the budget is
forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import trio

from imagefs.content.decoding import blob_of, store_fetch, store_stream
from imagefs.content.sources import BlobReader
from imagefs.content.tasks import tasks
from imagefs.errors import ImagefsError
from imagefs.formats.index import FormatError
from imagefs.formats.plan import Fetch, plan
from imagefs.registry.access import RETRY_BUDGET
from imagefs.store import StoredLayer, VerifyError

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_LOOK_AGAIN = 0.005
_LOOK_AGAIN_MOST = 0.1
_PARALLEL = 4


class ContentUnavailable(ImagefsError):
    """Bytes that could not be had within the retry budget, and why."""


class LayerFetcher:
    """Fetches chunks of one layer; any number of tasks may ask at once."""

    def __init__(
        self, layer: StoredLayer, source: BlobReader, budget: float = RETRY_BUDGET
    ) -> None:
        self.layer = layer
        self.blob = blob_of(layer)
        self.source = source
        self.budget = budget
        self._coming: dict[int, trio.Event] = {}
        self._failing_since: float | None = None
        self._failed_at = 0.0
        self._flying: dict[range, trio.Event] = {}
        self._tail = (0, b"")  # where it begins in the blob, and the bytes

    async def ensure(self, wanted: Sequence[int]) -> None:
        """Return when every chunk of `wanted` is in the store.

        Raises ContentUnavailable when a chunk can't be had within the budget, OSError (ENOSPC) when
        the store can't take it.
        """
        pause = _LOOK_AGAIN
        while missing := [chunk for chunk in wanted if not self.layer.present(chunk)]:
            coming = [self._coming[chunk] for chunk in missing if chunk in self._coming]
            if coming:
                await coming[0].wait()
                continue
            claim = self.layer.claim(missing)
            if claim is None:
                await trio.sleep(pause)
                pause = min(2 * pause, _LOOK_AGAIN_MOST)
                continue
            with claim:
                await self._announced(missing)
        await trio.lowlevel.checkpoint()

    async def _announced(self, chunks: Iterable[int]) -> None:
        chunks = [chunk for chunk in chunks if not self.layer.present(chunk)]
        here = trio.Event()
        self._coming.update(dict.fromkeys(chunks, here))
        try:
            await self._within_budget(chunks)
        finally:
            for chunk in chunks:
                del self._coming[chunk]
            here.set()

    async def _within_budget(self, chunks: list[int]) -> None:
        pause = _FIRST_PAUSE
        while chunks:
            began = trio.current_time()
            try:
                await self._fetch(chunks)
            except (FormatError, VerifyError) as error:
                if not self.source.blame():
                    raise self._unavailable(error) from error
            except ImagefsError as error:
                left = self._budget_left(began) if error.retryable else 0.0
                if left <= 0:
                    raise self._unavailable(error) from error
                if left == self.budget:
                    log.warning("%s; trying again for %.3g s", error, left)
                await trio.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if self._failing_since is not None:
                    log.info("layer %s: bytes come again", self.blob.digest)
                self._failing_since = None
            chunks = [chunk for chunk in chunks if not self.layer.present(chunk)]

    def _unavailable(self, error: ImagefsError) -> ContentUnavailable:
        return ContentUnavailable(f"layer {self.blob.digest}: its bytes can't be had: {error}")

    def _budget_left(self, began: float) -> float:
        """Seconds for which a failure that has just happened may be answered by another try.

        What counts as forgotten is decided by when the try began: it may take longer than the
        budget.
        """
        now = trio.current_time()
        if self._failing_since is None or began - self._failed_at > self.budget:
            self._failing_since = now
        self._failed_at = now
        return self._failing_since + self.budget - now

    async def _fetch(self, chunks: list[int]) -> None:
        if self.layer.index.codec == "stream":
            await store_stream(self.layer, self.source)
            return
        fetches = plan(self.layer.index, chunks)
        limit = trio.CapacityLimiter(_PARALLEL)
        async with tasks() as nursery:
            for fetch in fetches:
                nursery.start_soon(self._one, fetch, limit)

    async def _one(self, fetch: Fetch, limit: trio.CapacityLimiter) -> None:
        async with limit:
            wanted = range(fetch.blob_offset, fetch.blob_offset + fetch.blob_length)
            while (before := self._on_its_way(wanted)) is not None:
                await before.wait()
                if all(map(self.layer.present, fetch.chunk_ids)):
                    return
            landed = self._flying[wanted] = trio.Event()
            try:
                blob = await self._bytes(wanted)
                await store_fetch(self.layer, fetch, blob)
                self._keep_tail(fetch, blob)
            finally:
                del self._flying[wanted]
                landed.set()

    def _on_its_way(self, wanted: range) -> trio.Event | None:
        for flying, landed in self._flying.items():
            if flying.start < wanted.stop and wanted.start < flying.stop:
                return landed
        return None

    async def _bytes(self, wanted: range) -> bytes:
        """Bytes of the blob, those of the last fetch's tail not fetched again."""
        start, tail = self._tail
        self._tail = (0, b"")  # bad bytes must not be met twice
        known = tail[wanted.start - start :][: len(wanted)] if wanted.start >= start else b""
        if len(known) == len(wanted):
            return known
        at = wanted.start + len(known)
        return known + await self.source.pread(self.blob, at, wanted.stop - at)

    def _keep_tail(self, fetch: Fetch, blob: bytes) -> None:
        spans = self.layer.index.spans
        if len(spans):
            # The byte before the span too: a span may begin inside it.
            start = max(fetch.blob_offset, spans.blob[fetch.last_span] - 1)
            self._tail = start, blob[start - fetch.blob_offset :]
