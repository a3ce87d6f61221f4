"""Maps of sparse files: the decimal one of PAX 1.0, and what every map must keep. Knows no streams.

Source: GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from imagefs.formats import pax
from imagefs.formats.tarfields import BLOCK

#: As in Go.
_TEXT_MAX = 1 << 20


class MapText:
    """Gathers the blocks of a decimal map: a count, then each run's offset and length, in lines."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._lines = 0

    def add(self, block: bytes) -> pax.Runs | None:
        """The runs once the map is complete, else None. Raises ValueError."""
        self._text += block
        self._lines += block.count(b"\n")
        if len(self._text) > _TEXT_MAX:
            raise ValueError("the sparse map does not end")
        count = pax.integer(bytes(self._text[: self._text.find(b"\n", 0, BLOCK)]))
        if self._lines <= 2 * count:
            return None
        lines = bytes(self._text).split(b"\n", 1 + 2 * count)
        return pax.paired([pax.integer(line) for line in lines[1:-1]])


def check_runs(runs: pax.Runs, size: int, payload: int) -> None:
    """Raise ValueError unless the runs ascend within a file of `size` and take `payload` in all."""
    reached = total = 0
    for offset, length in runs:
        if offset < reached or length < 0 or offset + length > size:
            raise ValueError("the sparse map is out of order or reaches beyond the file")
        reached = offset + length
        total += length
    if total != payload:
        raise ValueError("the sparse map and the content differ in size")
