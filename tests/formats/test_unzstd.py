"""zstd frames are found, noted and decoded, however the blob is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.formats.index import FormatError
from imagefs.formats.unzstd import SPAN, Unzstd
from imagefs.testing.layers import zstd_compress


def skippable(body: bytes, number: int = 0) -> bytes:
    return bytes([0x50 + number]) + b"\x2a\x4d\x18" + len(body).to_bytes(4, "little") + body


def decoded(blob: bytes, step: int) -> tuple[bytes, list[tuple[int, int]]]:
    decoder = Unzstd()
    out = bytearray()
    for start in range(0, len(blob), step):
        for piece in decoder.feed(blob[start : start + step]):
            out += piece
    decoder.finish()
    return bytes(out), decoder.frames


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("frame"), st.binary(max_size=200), st.integers(0, 2000)),
            st.tuples(st.just("skip"), st.binary(max_size=40), st.integers(0, 15)),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_frames_and_skippable_frames_decode(parts: list[tuple[str, bytes, int]], step: int) -> None:
    blob = data = b""
    starts: dict[int, list[int]] = {}
    for kind, body, number in parts:
        if kind == "skip":
            blob += skippable(body, number)
        else:
            starts.setdefault(len(data), []).append(len(blob))
            blob += zstd_compress(body * number, 1)
            data += body * number
    out, frames = decoded(blob, step)
    assert out == data
    assert all(place in starts[at] for at, place in frames)
    assert all(later - at >= SPAN for (at, _), (later, _) in pairwise(frames))
    for at, place in frames:
        assert decoded(blob[place:], 1 << 20)[0] == data[at:]


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x28\xb5\x2f\xfd",
        zstd_compress(b"content" * 50)[:-1],
        zstd_compress(b"content" * 50) + b"\x28\xb5",
        zstd_compress(b"content" * 50) + b"garbage that is no frame",
        skippable(b"long")[:-1],
        b"\x28\xb5\x2f\xfd" + b"\xff" * 40,
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_damage_is_found(blob: bytes, step: int) -> None:
    with pytest.raises(FormatError, match="zstd"):
        decoded(blob, step)


def test_a_bomb_comes_in_pieces() -> None:
    decoder = Unzstd()
    sizes = [len(piece) for piece in decoder.feed(zstd_compress(bytes(50 << 20)))]
    decoder.finish()
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 512 << 10
