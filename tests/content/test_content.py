"""The first pass and lazy reads, over a memory registry and a real store."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from imagefs.content.fetcher import ContentUnavailable, LayerFetcher
from imagefs.content.reader import FetchingReader
from imagefs.content.scan import scan_layer
from imagefs.content.sources import NoSource, Sources
from imagefs.errors import ImagefsError, NotFoundError
from imagefs.formats.index import FormatError
from imagefs.oci.digest import Digest
from imagefs.registry.blobs import BlobInfo, BlobRef, ContentError
from imagefs.store import LayerKey, Store, StoredLayer
from imagefs.testing.disks import FailingDisk
from imagefs.testing.layers import zstd_compress
from imagefs.testing.transports import MemoryRegistry

FILES = 40
SIZE = 100_000
BIG = 5 << 20


def content(number: int) -> bytes:
    return random.Random(number).randbytes(BIG if number == FILES else SIZE)


def make_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(FILES + 1):
            data = content(number)
            info = tarfile.TarInfo(f"f{number}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def tar() -> bytes:
    return make_tar()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": lambda data: b"".join(
        zstd_compress(data[at : at + (1 << 20)]) for at in range(0, len(data), 1 << 20)
    ),
    "stream": zstd_compress,
}


class Flaky:
    """A BlobReader that fails as told, then passes on."""

    def __init__(self, inner: Sources, failures: list[ImagefsError], takes: float = 0.0) -> None:
        self.inner = inner
        self.failures = failures
        self.takes = takes

    async def pread(self, blob: BlobRef, offset: int, length: int) -> bytes:
        if self.failures:
            await trio.sleep(self.takes)
            raise self.failures.pop()
        return await self.inner.pread(blob, offset, length)

    def blame(self) -> bool:
        return self.inner.blame()

    @asynccontextmanager
    async def open_blob(self, blob: BlobRef) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self.inner.open_blob(blob) as pieces:
            yield pieces


class Counted(Flaky):
    """Notes what is read."""

    def __init__(self, inner: Sources) -> None:
        super().__init__(inner, [])
        self._seen: list[tuple[int, int]] = []

    async def pread(self, blob: BlobRef, offset: int, length: int) -> bytes:
        self._seen.append((offset, offset + length))
        return await super().pread(blob, offset, length)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Begin and end of each range, ascending."""
        return sorted(self._seen)


class Down(ImagefsError):
    retryable = True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "root", tmp_path / "run")


def registry_with(blob: bytes) -> tuple[MemoryRegistry, Sources, BlobInfo]:
    registry = MemoryRegistry()
    ref = BlobInfo(Digest.of(blob), len(blob))
    registry.blobs[ref.digest] = blob
    return registry, Sources(["docker://r/a:1"], registry.source), ref


async def scanned(store: Store, blob: bytes) -> tuple[MemoryRegistry, Sources, LayerKey]:
    registry, sources, ref = registry_with(blob)
    key = await scan_layer(store, sources, ref)
    with store.layers.open(key) as layer:
        assert layer.complete
        layer.drop_content()
    return registry, sources, key


def place(layer: StoredLayer, number: int) -> tuple[int, int]:
    entry = layer.index.entries[number]
    return entry.data_offset, entry.size


@pytest.mark.parametrize("codec", COMPRESSIONS)
async def test_every_file_can_be_read_lazily_in_any_order(
    store: Store, tar: bytes, codec: str
) -> None:
    _, sources, key = await scanned(store, COMPRESSIONS[codec](tar))
    with store.layers.open(key) as layer:
        assert layer.index.codec == codec
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        for number in random.Random(1).sample(range(FILES + 1), FILES + 1):
            offset, size = place(layer, number)
            if codec == "raw":
                assert reader.pread_nowait(0, offset, size) is None
            assert await reader.pread(0, offset, size) == content(number)
            assert reader.pread_nowait(0, offset, size) == content(number)
        assert layer.complete


@pytest.mark.parametrize("codec", ["raw", "gzip", "zstd"])
@pytest.mark.parametrize("at_once", [1, 4])
async def test_reading_a_file_in_order_gets_no_byte_twice(
    store: Store, tar: bytes, codec: str, at_once: int
) -> None:
    _, sources, key = await scanned(store, COMPRESSIONS[codec](tar))
    counted = Counted(sources)
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, counted)])
        offset, size = place(layer, FILES)
        piece = 1 << 17
        for at in range(0, size, piece * at_once):
            async with trio.open_nursery() as nursery:
                for start in range(at, min(size, at + piece * at_once), piece):
                    nursery.start_soon(reader.pread, 0, offset + start, min(piece, size - start))
    assert len(counted.ranges) > 1
    assert all(one[1] <= other[0] for one, other in pairwise(counted.ranges))


async def test_a_stream_may_go_on_long_after_its_last_content(store: Store) -> None:
    names = b"".join(
        tarfile.TarInfo(random.Random(number).randbytes(40).hex()).tobuf() for number in range(2000)
    )
    blob = zstd_compress(make_tar()[: (1 << 9) + SIZE + -SIZE % 512] + names)
    _, sources, key = await scanned(store, blob)
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        assert await reader.pread(0, *place(layer, 0)) == content(0)


async def test_a_reader_that_is_cancelled_strands_nobody(store: Store, tar: bytes) -> None:
    _, sources, key = await scanned(store, tar)

    class Stuck(Flaky):
        """Never answers its first reader."""

        def __init__(self) -> None:
            super().__init__(sources, [])
            self.asked = trio.Event()

        async def pread(self, blob: BlobRef, offset: int, length: int) -> bytes:
            if not self.asked.is_set():
                self.asked.set()
                await trio.sleep_forever()
            return await super().pread(blob, offset, length)

    with store.layers.open(key) as layer, store.layers.open(key) as elsewhere:
        stuck = Stuck()
        fetcher = LayerFetcher(layer, stuck)
        readers = [FetchingReader([layer], [fetcher]) for _ in range(3)]
        readers.append(FetchingReader([elsewhere], [LayerFetcher(elsewhere, sources)]))
        first = trio.CancelScope()

        async def give_up() -> None:
            with first:
                await readers[0].pread(0, *place(layer, 0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            await stuck.asked.wait()
            for reader in readers[1:]:
                nursery.start_soon(reader.pread, 0, *place(layer, 0))
            await wait_all_tasks_blocked()
            first.cancel()
        assert first.cancelled_caught
        assert layer.read(*place(layer, 0)) == content(0)


async def test_a_full_disk_is_told_and_strands_nobody(
    tmp_path: Path, store: Store, tar: bytes
) -> None:
    _, sources, key = await scanned(store, tar)
    disk = FailingDisk(at=1 << 30)
    full = Store.open(tmp_path / "root", tmp_path / "run", disk=disk)
    with full.layers.open(key) as layer:
        disk.at = disk.count
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                await reader.pread(0, *place(layer, 0))
        assert not layer.present(0)
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        assert await reader.pread(0, *place(layer, 0)) == content(0)


async def test_a_file_costs_little_more_than_itself(store: Store, tar: bytes) -> None:
    registry, sources, key = await scanned(store, tar)
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        await reader.pread(0, *place(layer, 7))
    assert sum(length for _, _, length in registry.reads) == SIZE


async def test_reads_in_a_row_fetch_ahead_but_not_past_the_file(store: Store, tar: bytes) -> None:
    registry, sources, key = await scanned(store, tar)
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        offset, size = place(layer, FILES)
        for at in range(0, size, 1 << 17):
            await reader.pread(0, offset + at, 1 << 17)
    assert sum(length for _, _, length in registry.reads) == BIG
    assert len(registry.reads) < 5


async def test_readers_of_one_chunk_fetch_it_once(store: Store, tar: bytes) -> None:
    registry, sources, key = await scanned(store, COMPRESSIONS["gzip"](tar))
    with store.layers.open(key) as layer, store.layers.open(key) as again:
        readers = [
            FetchingReader([one], [LayerFetcher(one, sources)]) for one in (layer, layer, again)
        ]
        async with trio.open_nursery() as nursery:
            for reader in readers * 3:
                nursery.start_soon(reader.pread, 0, *place(layer, 3))
    assert len(registry.reads) == 1


async def test_two_that_see_a_layer_first_stream_it_once(store: Store, tar: bytes) -> None:
    _, sources, ref = registry_with(tar)
    came: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scan_layer, store, sources, ref, came.append)
        nursery.start_soon(scan_layer, store, sources, ref, came.append)
    assert sum(came) == len(tar)


@pytest.mark.expects_warnings
async def test_a_passing_failure_is_waited_out(
    store: Store, tar: bytes, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    _, sources, key = await scanned(store, tar)
    with store.layers.open(key) as layer:
        flaky = Flaky(sources, [Down("reset"), Down("refused"), Down("refused")])
        reader = FetchingReader([layer], [LayerFetcher(layer, flaky)])
        assert await reader.pread(0, *place(layer, 0)) == content(0)
    assert "refused; trying again" in caplog.text


@pytest.mark.expects_warnings
async def test_the_budget_is_waited_out_once_while_a_registry_is_down(
    store: Store, tar: bytes, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    _, sources, key = await scanned(store, tar)
    with store.layers.open(key) as layer:
        fetcher = LayerFetcher(layer, Flaky(sources, [Down("down")] * 1000), budget=30)
        reader = FetchingReader([layer], [fetcher])
        start = trio.current_time()
        with pytest.raises(ContentUnavailable, match="down"):
            await reader.pread(0, *place(layer, 0))
        first = trio.current_time() - start
        with pytest.raises(ContentUnavailable):
            await reader.pread(0, *place(layer, 1))
        assert 30 <= first <= 33
        assert trio.current_time() - start - first < 1


@pytest.mark.expects_warnings
async def test_tries_that_outlast_the_budget_end(
    store: Store, tar: bytes, autojump_clock: MockClock
) -> None:
    _, sources, key = await scanned(store, tar)
    with store.layers.open(key) as layer:
        slow = Flaky(sources, [Down("no answer")] * 1000, takes=45)
        reader = FetchingReader([layer], [LayerFetcher(layer, slow, budget=30)])
        with pytest.raises(ContentUnavailable, match="no answer"):
            await reader.pread(0, *place(layer, 0))
        assert len(slow.failures) == 998


@pytest.mark.expects_warnings
async def test_an_outage_long_ago_takes_nothing_from_the_budget(
    store: Store, tar: bytes, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    _, sources, key = await scanned(store, tar)
    with store.layers.open(key) as layer:
        flaky = Flaky(sources, [Down("down")] * 1000)
        reader = FetchingReader([layer], [LayerFetcher(layer, flaky, budget=30)])
        with pytest.raises(ContentUnavailable, match="down"):
            await reader.pread(0, *place(layer, 0))
        autojump_clock.jump(3600)
        flaky.failures = [Down("reset")]
        assert await reader.pread(0, *place(layer, 0)) == content(0)


async def test_wrong_bytes_are_never_kept(store: Store, tar: bytes) -> None:
    registry, sources, key = await scanned(store, tar)
    ((digest, blob),) = registry.blobs.items()
    registry.blobs[digest] = blob[:600] + b"\xff" + blob[601:]
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        with pytest.raises(ContentUnavailable, match="not those promised"):
            await reader.pread(0, *place(layer, 0))
        assert not layer.present(0)


@pytest.mark.parametrize(
    ("blob", "error"),
    [(b"no tar" * 1000, FormatError), (gzip.compress(make_tar(), 1)[:-9], FormatError)],
)
async def test_a_blob_that_is_no_layer_leaves_nothing(
    store: Store, blob: bytes, error: type[Exception]
) -> None:
    _, sources, ref = registry_with(blob)
    with pytest.raises(error):
        await scan_layer(store, sources, ref)
    assert store.layers.list() == []
    assert list((store.root / "tmp").iterdir()) == []
    assert not list((store.root / "locks").glob("scan-*"))


async def test_a_blob_of_another_digest_leaves_nothing(store: Store, tar: bytes) -> None:
    registry, sources, ref = registry_with(tar)
    registry.blobs[ref.digest] = tar[:-1] + b"x"
    with pytest.raises(ContentError):
        await scan_layer(store, sources, ref)
    assert store.layers.list() == []


async def test_places_are_tried_in_turn() -> None:
    registry, _, ref = registry_with(b"blob")
    empty = MemoryRegistry()
    places = {"docker://a/a:1": empty, "docker://b/b:1": registry}
    sources = Sources(list(places), lambda name: places[name].source(name))
    assert await sources.pread(ref, 1, 2) == b"lo"
    async with sources.open_blob(ref) as pieces:
        assert [piece async for piece in pieces] == [b"blob"]
    nowhere = Sources(["docker://a/a:1"], empty.source)
    with pytest.raises(NotFoundError):
        await nowhere.pread(ref, 0, 1)
    with pytest.raises(NoSource):
        await Sources([], empty.source).pread(ref, 0, 1)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("codec", ["raw", "gzip"])
async def test_wrong_bytes_from_one_place_are_had_from_another(
    store: Store, tar: bytes, codec: str
) -> None:
    registry, _, key = await scanned(store, COMPRESSIONS[codec](tar))
    ((digest, blob),) = registry.blobs.items()
    lying = MemoryRegistry(blobs={digest: blob[:400] + bytes(400) + blob[800:]})
    places = {"docker://a/a:1": lying, "docker://b/b:1": registry}
    sources = Sources(list(places), lambda name: places[name].source(name))
    with store.layers.open(key) as layer:
        reader = FetchingReader([layer], [LayerFetcher(layer, sources)])
        assert await reader.pread(0, *place(layer, 0)) == content(0)
        assert await reader.pread(0, *place(layer, 1)) == content(1)
