"""Any chunks of a layer come back from the ranges planned for them, and the exact tar too."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from functools import cache
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from imagefs.formats.index import Chunks, FormatError, LayerIndex, Spans
from imagefs.formats.plan import Fetch, decode, plan
from imagefs.formats.rebuild import rebuild_tar
from imagefs.formats.scan import Compression
from imagefs.testing.layers import ScannedLayer, scan_blob, zstd_compress
from imagefs.testing.tars import TarCase, tar_cases

CODECS = ["raw", "gzip", "members", "zstd", "stream"]


def big_tar() -> bytes:
    """About 12 MiB of files of all sizes, half of it noise."""
    chance = random.Random(5)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(120):
            size = chance.choice(
                [0, 10, 5_000, 60_000, 300_000, 2_500_000 if number % 40 == 7 else 9]
            )
            content = chance.randbytes(size // 2 + 1) * 2
            info = tarfile.TarInfo(f"directory/{number:03}")
            info.size = size
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@cache
def layer(codec: str) -> ScannedLayer:
    tar = big_tar()
    cuts = [*range(0, len(tar), 700_001), len(tar)]
    pieces = [tar[start:stop] for start, stop in pairwise(cuts)]
    blob = {
        "raw": lambda: tar,
        "gzip": lambda: gzip.compress(tar, 6),
        "members": lambda: b"".join(gzip.compress(piece, 1) for piece in pieces),
        "zstd": lambda: b"".join(zstd_compress(piece, 1) for piece in pieces),
        "stream": lambda: zstd_compress(tar, 1),
    }[codec]()
    scanned = scan_blob(blob)
    assert scanned.index.codec == {"members": "gzip"}.get(codec, codec)
    return scanned


def fetched(scanned: ScannedLayer, fetch: Fetch) -> bytes:
    return scanned.blob[fetch.blob_offset : fetch.blob_offset + fetch.blob_length]


def check(index: LayerIndex, found: dict[int, bytes]) -> None:
    for chunk, content in found.items():
        assert blake3(content).digest() == index.chunks.digest(chunk)


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
def test_any_chunks_come_back_from_their_ranges(codec: str, data: st.DataObject) -> None:
    scanned = layer(codec)
    index = scanned.index
    wanted = data.draw(st.sets(st.integers(0, len(index.chunks) - 1), max_size=6))
    step = data.draw(st.sampled_from([10_000, 1 << 30]))
    found: dict[int, bytes] = {}
    for fetch in plan(index, wanted):
        blob = fetched(scanned, fetch)
        pieces = [blob[at : at + step] for at in range(0, len(blob), step)]
        decoded = dict(decode(index, fetch, pieces))
        assert set(fetch.chunk_ids) <= set(decoded)
        found |= decoded
    assert wanted <= set(found)
    check(index, found)


@pytest.mark.parametrize("codec", CODECS)
def test_the_whole_layer_comes_back_from_one_or_many_fetches(codec: str) -> None:
    scanned = layer(codec)
    everything = range(len(scanned.index.chunks))
    for fetch_max in (1, 1 << 20, 1 << 40):
        found: dict[int, bytes] = {}
        fetches = plan(scanned.index, everything, fetch_max)
        for fetch in fetches:
            found |= dict(decode(scanned.index, fetch, fetched(scanned, fetch)))
        assert list(found) == list(everything)
        check(scanned.index, found)
    assert len(fetches) == 1 or codec == "raw"


@pytest.mark.parametrize("codec", ["raw", "gzip", "members", "zstd"])
def test_one_small_file_costs_a_small_part_of_the_blob(codec: str) -> None:
    scanned = layer(codec)
    for chunk in range(0, len(scanned.index.chunks), 7):
        [fetch] = plan(scanned.index, [chunk])
        assert fetch.blob_length < len(scanned.blob) / 2
        if codec == "raw":
            assert fetch.blob_length == scanned.index.chunks.length[chunk]


def test_near_neighbours_share_a_fetch() -> None:
    index = layer("raw").index
    assert len(plan(index, [0, 1])) == 1
    assert len(plan(index, [0, len(index.chunks) - 1])) == 2
    assert plan(index, []) == []


@pytest.mark.parametrize("codec", CODECS)
def test_a_range_that_came_short_is_an_error(codec: str) -> None:
    scanned = layer(codec)
    [fetch] = plan(scanned.index, [len(scanned.index.chunks) - 1])
    with pytest.raises(FormatError, match="do not hold chunk"):
        list(decode(scanned.index, fetch, fetched(scanned, fetch)[: fetch.blob_length // 3]))
    with pytest.raises(FormatError):
        list(decode(scanned.index, fetch, b""))


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
def test_a_damaged_range_gives_wrong_chunks_or_an_error(codec: str, data: st.DataObject) -> None:
    scanned = layer(codec)
    chunk = data.draw(st.integers(0, len(scanned.index.chunks) - 1))
    [fetch] = plan(scanned.index, [chunk])
    blob = bytearray(fetched(scanned, fetch))
    for at in data.draw(st.lists(st.integers(0, len(blob) - 1), min_size=1, max_size=5)):
        blob[at] ^= data.draw(st.integers(1, 255))
    try:
        found = dict(decode(scanned.index, fetch, bytes(blob)))
    except FormatError:
        return
    assert len(found[chunk]) == scanned.index.chunks.length[chunk]


def index_with(spans: Spans, chunks: Chunks) -> LayerIndex:
    good = layer("gzip").index
    return LayerIndex(
        codec="gzip",
        blob_digest=good.blob_digest,
        blob_size=1000,
        diff_id=None,
        stream_size=5000,
        data_size=8192,
        chunks=chunks,
        spans=spans,
    )


@pytest.mark.parametrize(
    "spans",
    [
        Spans.of([]),
        Spans.of([(100, 10, 0, b"")]),
        Spans.of([(0, 2000, 0, b"")]),
        Spans.of([(0, 0, 3, b"")]),
        Spans.of([(0, 900, 0, b""), (4000, 10, 0, b"")]),
    ],
)
def test_a_lying_index_is_an_error(spans: Spans) -> None:
    index = index_with(spans, Chunks([0], [10], [50], bytes(32)))
    with pytest.raises(FormatError, match="layer index"):
        plan(index, [0])


@pytest.mark.parametrize("codec", CODECS)
def test_the_exact_tar_comes_back(codec: str) -> None:
    scanned = layer(codec)
    pieces = list(rebuild_tar(scanned.index, iter(scanned.sink.skeletons), scanned.sink.read))
    assert b"".join(pieces) == big_tar()
    assert max(map(len, pieces)) < 3 << 20


@given(tar_cases(), st.binary(max_size=1500))
def test_the_exact_tar_comes_back_with_all_that_is_odd(case: TarCase, garbage: bytes) -> None:
    compression: Compression = "none"
    scanned = scan_blob(case.blob + garbage, compression)
    skeleton = b"".join(scanned.sink.skeletons)
    assert b"".join(rebuild_tar(scanned.index, skeleton, scanned.sink.read)) == case.blob + garbage


def test_a_skeleton_of_the_wrong_length_is_an_error() -> None:
    scanned = layer("raw")
    skeleton = b"".join(scanned.sink.skeletons)
    with pytest.raises(FormatError, match="shorter"):
        list(rebuild_tar(scanned.index, skeleton[:-1], scanned.sink.read))
    with pytest.raises(FormatError, match="longer"):
        list(rebuild_tar(scanned.index, skeleton + b"x", scanned.sink.read))
    with pytest.raises(FormatError, match="incomplete"):
        list(rebuild_tar(scanned.index, skeleton, lambda at, length: bytes(length - 1)))
