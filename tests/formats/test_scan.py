"""A scan tells the truth about a blob, however it is fed, compressed and cut."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from imagefs.formats.index import CHUNK_SIZE, FormatError, LayerIndex
from imagefs.formats.scan import Compression
from imagefs.testing.layers import ScannedLayer, scan_blob, zstd_compress
from imagefs.testing.tars import TarCase, tar_cases

COMPRESSORS: dict[Compression, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstd_compress(data, 3),
}
COMPRESSIONS = st.sampled_from(sorted(COMPRESSORS))


@dataclass
class Told:
    """What two scans of one blob must agree about."""

    index: bytes
    skeleton: bytes
    content: list[tuple[bytes, bytes]]


def told(layer: ScannedLayer) -> Told:
    return Told(layer.index.encode(), b"".join(layer.sink.skeletons), layer.files())


def outcome(blob: bytes, compression: Compression, cuts: Iterable[int]) -> Told | str:
    try:
        return told(scan_blob(blob, compression, cuts))
    except FormatError as error:
        return str(error)


@given(tar_cases())
def test_entries_and_contents_are_those_that_were_written(case: TarCase) -> None:
    layer = scan_blob(case.blob, "none")
    found = [msgspec.structs.replace(entry, data_offset=0) for entry in layer.index.entries]
    assert found == [member.entry for member in case.members]
    assert layer.files() == [
        (entry.path, content) for entry, content in case.members if entry.kind == 0o100000
    ]


@given(tar_cases(), COMPRESSIONS)
def test_digests_sizes_and_chunks_are_proved(case: TarCase, compression: Compression) -> None:
    blob = COMPRESSORS[compression](case.blob)
    layer = scan_blob(blob, compression)
    index = layer.index
    assert index.blob_digest.hex == hashlib.sha256(blob).hexdigest()
    assert index.diff_id is not None
    assert index.diff_id.hex == hashlib.sha256(case.blob).hexdigest()
    assert (index.blob_size, index.stream_size) == (len(blob), len(case.blob))
    covered = 0
    for chunk in range(len(index.chunks)):
        start, length = index.chunks.stream[chunk], index.chunks.length[chunk]
        content = case.blob[start : start + length]
        assert blake3(content).digest() == index.chunks.digest(chunk)
        assert layer.sink.read(index.chunks.data[chunk], length) == content
        covered += length
    assert covered == sum(len(member.content) for member in case.members)


@given(tar_cases())
def test_each_file_has_its_own_aligned_place(case: TarCase) -> None:
    index = scan_blob(case.blob, "none").index
    end = 0
    for entry in index.entries:
        if entry.size:
            assert entry.data_offset % 4096 == 0
            assert entry.data_offset == end
            end = -(-(entry.data_offset + entry.size) // 4096) * 4096
        else:
            assert entry.data_offset == 0
    assert index.data_size == end


@given(tar_cases(), COMPRESSIONS, st.data())
def test_feeding_in_pieces_changes_nothing(
    case: TarCase, compression: Compression, data: st.DataObject
) -> None:
    blob = COMPRESSORS[compression](case.blob)
    cuts = data.draw(st.lists(st.integers(0, len(blob)), max_size=8))
    assert told(scan_blob(blob, compression, cuts)) == told(scan_blob(blob, compression))


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
@given(tar_cases())
def test_feeding_byte_by_byte_changes_nothing(compression: Compression, case: TarCase) -> None:
    blob = COMPRESSORS[compression](case.blob[:12_000].ljust(12_288, b"\0"))
    assert outcome(blob, compression, range(len(blob))) == outcome(blob, compression, ())


@given(tar_cases())
def test_an_index_survives_being_written(case: TarCase) -> None:
    index = scan_blob(COMPRESSORS["gzip"](case.blob)).index
    again = LayerIndex.open(index.encode())
    assert again.encode() == index.encode()
    assert again.entries == index.entries


def test_big_files_are_cut_into_chunks_of_a_mebibyte() -> None:
    content = bytes(itertools.islice(itertools.cycle(range(251)), 2 * CHUNK_SIZE + 5))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("big")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    for cuts in (range(0), range(0, 3 << 20, 100_003)):
        layer = scan_blob(out.getvalue(), cuts=cuts)
        assert list(layer.index.chunks.length) == [CHUNK_SIZE, CHUNK_SIZE, 5]
        assert list(layer.index.chunks.data) == [0, CHUNK_SIZE, 2 * CHUNK_SIZE]
        assert layer.files() == [(b"big", content)]


@pytest.mark.parametrize("blob", [b"", bytes(512), bytes(1024), bytes(10_240)])
def test_an_empty_archive_is_an_empty_layer(blob: bytes) -> None:
    layer = scan_blob(blob)
    assert (len(layer.index.entries), layer.index.data_size) == (0, 0)
    assert b"".join(layer.sink.skeletons) == blob


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"<html>" * 100, "not a tar archive"),
        (b"<html>", "truncated after 6 bytes"),
        (gzip.compress(b"no tar" * 100), "not a tar archive"),
        (b"BZh91AY&SY" * 100, "bzip2"),
        (b"\xfd7zXZ\0" * 100, "compressed with xz"),
    ],
)
def test_what_is_no_layer_is_refused(blob: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        scan_blob(blob)


def test_the_compression_that_is_asked_for_counts() -> None:
    with pytest.raises(FormatError, match="not a tar archive"):
        scan_blob(gzip.compress(bytes(10_240)) + bytes(512), "none")
    with pytest.raises(FormatError, match="gzip"):
        scan_blob(bytes(1024), "gzip")
    with pytest.raises(FormatError, match="zstd"):
        scan_blob(bytes(1024), "zstd")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@given(tar_cases(), st.data())
def test_a_truncated_blob_is_refused(
    compression: Compression, case: TarCase, data: st.DataObject
) -> None:
    blob = COMPRESSORS[compression](case.blob)
    with pytest.raises(FormatError):
        scan_blob(blob[: data.draw(st.integers(1, len(blob) - 1))], compression)


@pytest.mark.parametrize(("bound", "most"), [("ENTRIES_MAX", 4), ("DESCRIBED_MAX", 40)])
def test_a_layer_may_not_fill_the_memory_with_entries(
    bound: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"imagefs.formats.scan.{bound}", most)
    names = [tarfile.TarInfo(f"{number:010}") for number in range(5)]
    assert len(scan_blob(b"".join(name.tobuf() for name in names[:4])).index.entries) == 4
    with pytest.raises(FormatError, match="the layer has more than"):
        scan_blob(b"".join(name.tobuf() for name in names))
