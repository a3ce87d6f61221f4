"""Decoding gzip from any checkpoint gives the very bytes that decoding from the start gives."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.formats.gunzip import Checkpoint, Gunzip
from imagefs.formats.index import FormatError


def deflate(data: bytes, level: int, strategy: int, flushes: list[int]) -> bytes:
    """One gzip member, with sync flushes at some offsets, which leave empty stored blocks."""
    packer = zlib.compressobj(level, zlib.DEFLATED, 31, 8, strategy)
    out, last = b"", 0
    for at in sorted(flushes):
        out += packer.compress(data[last:at]) + packer.flush(zlib.Z_SYNC_FLUSH)
        last = at
    return out + packer.compress(data[last:]) + packer.flush()


def checkpoints(blob: bytes, span: int, step: int) -> tuple[bytes, list[Checkpoint]]:
    decoder = Gunzip(span)
    out = bytearray()
    for start in range(0, len(blob), step):
        for piece in decoder.feed(blob[start : start + step]):
            out += piece
    decoder.finish()
    return bytes(out), decoder.checkpoints


def resumed(blob: bytes, point: Checkpoint, step: int) -> bytes:
    _, at, bits, window = point
    decoder = Gunzip.resume(bits, blob[at - 1] if bits else 0, window)
    out = bytearray()
    for start in range(at, len(blob), step):
        for piece in decoder.feed(blob[start : start + step]):
            out += piece
    decoder.finish()
    return bytes(out)


def mixed(seed: int, size: int) -> bytes:
    """Text, noise (deflate stores it) and runs in turn."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randint(2, 9)) for _ in range(40)]
    out = bytearray()
    while len(out) < size:
        out += b"".join(chance.choices(words, k=chance.randint(1, 900)))
        out += chance.randbytes(chance.choice([0, 3, 40_000]))
        out += bytes([chance.randint(0, 255)]) * chance.choice([0, 300, 70_000])
    return bytes(out[:size])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1 << 32),
            st.integers(0, 200_000),
            st.integers(0, 9),
            st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY]),
            st.lists(st.integers(0, 200_000), max_size=5),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 60_000),
    st.sampled_from([1000, 4096, 1 << 20]),
)
def test_every_checkpoint_is_bit_exact(
    parts: list[tuple[int, int, int, int, list[int]]], span: int, step: int
) -> None:
    data = blob = b""
    for seed, size, level, strategy, flushes in parts:
        piece = mixed(seed, size)
        data += piece
        blob += deflate(piece, level, strategy, flushes)
    decoded, points = checkpoints(blob, span, step)
    assert decoded == data
    assert points[0][0] == 0
    for point, following in pairwise(points):
        assert following[0] - point[0] >= span
    for point in points[:: max(1, len(points) // 12)]:
        assert resumed(blob, point, step) == data[point[0] :]


def test_all_bit_remainders_and_stored_blocks_are_met() -> None:
    data = mixed(7, 3_000_000)
    seen = set()
    for level in range(10):
        blob = deflate(data, level, zlib.Z_DEFAULT_STRATEGY, [])
        decoded, points = checkpoints(blob, 1, 1 << 16)
        assert decoded == data
        chosen = points[:: max(1, len(points) // 20)]
        seen |= {bits for _, _, bits, _ in chosen}
        for point in chosen:
            assert resumed(blob, point, 1 << 20) == data[point[0] :]
    assert seen == set(range(8))


def test_a_real_span_has_a_checkpoint_about_every_two_mebibytes() -> None:
    data = mixed(3, 9 << 20)
    _, points = checkpoints(gzip.compress(data, 6), 2 << 20, 1 << 18)
    assert len(points) in (4, 5)
    assert all(len(window) == 32768 for _, _, _, window in points[1:])


def test_padding_after_the_last_member_is_no_content() -> None:
    blob = gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(b"b")
    assert checkpoints(blob + bytes(700), 1, 100)[0] == b"ab"
    assert checkpoints(blob + bytes(700), 1, 1)[0] == b"ab"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda blob: blob + b"garbage", "header"),
        (lambda blob: blob + bytes(10) + b"garbage", "garbage after the end"),
        (lambda blob: blob + bytes(10) + blob, "garbage after the end"),
        (lambda blob: blob[:-1], "truncated"),
        (lambda blob: blob[:20], "truncated"),
        (lambda blob: blob[:-5] + bytes([blob[-5] ^ 1]) + blob[-4:], "data check"),
        (lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]), "length check"),
        (lambda _: b"", "truncated"),
    ],
)
def test_damage_is_found(damage: Callable[[bytes], bytes], message: str) -> None:
    blob = damage(gzip.compress(b"content" * 100))
    for step in (1, 1000):
        with pytest.raises(FormatError, match=message):
            checkpoints(blob, 100, step)


def test_a_bomb_comes_in_pieces() -> None:
    blob = gzip.compress(bytes(50 << 20))
    decoder = Gunzip()
    sizes = [len(piece) for piece in decoder.feed(blob)]
    decoder.finish()
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 512 << 10
