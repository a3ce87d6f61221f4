"""The exact tar of a layer again, from its skeleton and content. Verifies and opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from imagefs.formats.index import Buffer, FormatError, LayerIndex

_PIECE = 1 << 20


def rebuild_tar(
    index: LayerIndex,
    skeleton: Buffer | Iterable[Buffer],
    read: Callable[[int, int], Buffer],
) -> Iterator[bytes]:
    """The stream that the layer was scanned from, in pieces of about 1 MiB.

    `skeleton` is what the scan gave, whole or in pieces; `read(data_offset, length)` answers from
    the data file, at most 1 MiB at once. The caller compares the diffID. Raises FormatError where
    skeleton or content have another length than the index says.
    """
    bones = _Bones(skeleton)
    position = 0
    piece = bytearray()
    for data, length, stream in zip(
        index.chunks.data, index.chunks.length, index.chunks.stream, strict=True
    ):
        piece += bones.take(stream - position)
        content = read(data, length)
        if len(content) != length:
            raise FormatError(f"layer {index.blob_digest}: content at {data} is incomplete")
        piece += content
        position = stream + length
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    piece += bones.take(index.stream_size - position)
    bones.finish()
    yield bytes(piece)


class _Bones:
    """The skeleton, taken piece by piece."""

    def __init__(self, skeleton: Buffer | Iterable[Buffer]) -> None:
        if isinstance(skeleton, bytes | bytearray | memoryview):
            skeleton = (skeleton,)
        self._pieces: Iterator[Buffer] = iter(skeleton)
        self._piece = memoryview(b"")

    def take(self, count: int) -> Buffer:
        if 0 <= count <= len(self._piece):
            taken, self._piece = self._piece[:count], self._piece[count:]
            return taken
        gathered = bytearray()
        while len(gathered) < count:
            if not self._piece:
                following = next(self._pieces, None)
                if following is None:
                    raise FormatError("layer skeleton: it is shorter than the index says")
                self._piece = memoryview(following)
                continue
            missing = count - len(gathered)
            gathered += self._piece[:missing]
            self._piece = self._piece[missing:]
        if count < 0:
            raise FormatError("layer index: the chunks overlap")
        return gathered

    def finish(self) -> None:
        if self._piece or any(len(piece) for piece in self._pieces):
            raise FormatError("layer skeleton: it is longer than the index says")
