"""How far to fetch beyond what was asked: nothing at first, more while reads stay in a row. Pure.

A read that misses in the middle of nowhere gets its own chunks only, so that looking at ten files
costs ten files. Once reads follow each other the window doubles with each miss, up to `MAX_WINDOW`;
within one file from the second miss on, across files only after `FILES` misses in a row.
"""

from __future__ import annotations

from imagefs.formats.index import CHUNK_SIZE, Chunks

MAX_WINDOW = 16 << 20
FILES = 8


class ReadAhead:
    """The window of one layer; `extend` is called for each miss, in the order of the misses."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._next = -1
        self._streak = 0

    def extend(self, missed: range) -> range:
        """`missed` and the chunks after it that are worth fetching in the same go."""
        self._streak = self._streak + 1 if missed.start == self._next else 0
        window = min(MAX_WINDOW, CHUNK_SIZE << min(self._streak - 1, 8)) if self._streak else 0
        stop = missed.stop
        while window > 0 and stop < len(self._chunks):
            if self._streak < FILES and not self._same_file(stop):
                break
            window -= self._chunks.length[stop]
            stop += 1
        self._next = stop
        return range(missed.start, stop)

    def _same_file(self, chunk: int) -> bool:
        """Whether `chunk` may go on where the one before it ends: only full chunks have a next."""
        before = self._chunks.data[chunk - 1] + self._chunks.length[chunk - 1]
        full = self._chunks.length[chunk - 1] == CHUNK_SIZE
        return full and before == self._chunks.data[chunk]
