"""From what an upper changed to a layer in the store, by the scanner that reads any other layer.

The tar itself is not kept: the store can give it again, byte for byte. Fetches nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from imagefs.errors import ConflictError
from imagefs.formats.scan import LayerScanner
from imagefs.formats.tarwrite import TarWriter
from imagefs.store import LayerKey, Store
from imagefs.tree import Content
from imagefs.upper.changes import LayerDiff, LayerEntry

_PIECE = 1 << 20

#: Reads the lower content of a file: where it lies, offset in it, length.
ReadLower = Callable[[Content, int, int], bytes]


class ChangedWhileRead(ConflictError):
    """A file that got shorter while its layer was written."""


def write_layer(
    store: Store, diff: LayerDiff, rows: Sequence[LayerEntry], read: ReadLower
) -> LayerKey:
    """The layer of `rows`, the entries of `diff`, complete in the store; its blob is a plain tar.

    The same upper gives the same layer. Atomic. Raises OSError when the disk is full and
    ChangedWhileRead for a file that is being truncated.
    """
    tar = TarWriter()
    with store.layers.create() as writer:
        scanner = LayerScanner("none", writer)
        for row in rows:
            scanner.feed(tar.header(row.entry))
            if row.ino:
                for piece in _data(diff, row, read):
                    scanner.feed(piece)
                scanner.feed(tar.padding(row.entry.size))
        scanner.feed(tar.end())
        return writer.commit(scanner.finish())


def lower_contents(diff: LayerDiff, rows: Sequence[LayerEntry]) -> list[Content]:
    """What of the layers below the new layer will hold: files that changed in name or mode only."""
    found = (diff.engine.lower_content(row.ino) for row in rows if row.ino)
    return [content for content in found if content is not None]


def _data(diff: LayerDiff, row: LayerEntry, read: ReadLower) -> Iterator[bytes]:
    """Exactly the entry's size in bytes."""
    source = diff.open(row.ino)
    size = row.entry.size
    if isinstance(source, Content):
        for at in range(0, size, _PIECE):
            yield read(source, at, min(_PIECE, size - at))
        return
    try:
        at = 0
        while at < size:
            piece = os.pread(source, min(_PIECE, size - at), at)
            if not piece:
                shown = row.entry.path.decode("utf-8", "backslashreplace")
                raise ChangedWhileRead(f"/{shown}: it got shorter while it was read: try again")
            at += len(piece)
            yield piece
    finally:
        os.close(source)
