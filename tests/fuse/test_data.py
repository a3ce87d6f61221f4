"""Reads, copy-up and writes of file data over a real engine and a reader of made-up bytes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trio

from imagefs.errors import ImagefsError
from imagefs.formats.index import Entry
from imagefs.fuse.data import FileData
from imagefs.testing.uppers import data_of, lower_tree
from imagefs.tree import Content
from imagefs.upper import Engine, UpperDir
from imagefs.upper.userdialect import UserDialect

SIZE = 9 << 20


class Reader:
    """Serves the content of one file; counts the bytes that had to wait."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.data = data_of(content)
        self.here = False
        self.fetched = 0
        self.fails = False

    def pread_nowait(self, layer: int, offset: int, length: int) -> bytes | None:
        return self._bytes(offset, length) if self.here else None

    async def pread(self, layer: int, offset: int, length: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise ImagefsError("the registry is down")
        self.fetched += length
        return self._bytes(offset, length)

    def _bytes(self, offset: int, length: int) -> bytes:
        start = offset - self.content.offset
        assert start >= 0
        assert start + length <= self.content.size
        return self.data[start : start + length]


class Setup:
    def __init__(self, directory: Path) -> None:
        tree = lower_tree(
            [Entry(b"", stat.S_IFDIR, 0o755), Entry(b"f", stat.S_IFREG, 0o644, size=SIZE)]
        )
        upper = UpperDir(directory / "upper", directory / "work")
        self.engine = Engine(tree, upper, dialect=UserDialect())
        self.engine.begin()
        self.ino = self.engine.lookup(1, b"f").ino
        content = tree.content(self.ino)
        assert content is not None
        self.reader = Reader(content)
        self.data = FileData(self.engine, self.reader, None)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


async def test_reads_fetch_only_what_is_asked_for(setup: Setup) -> None:
    assert await setup.data.read(setup.ino, 5000, 100) == setup.reader.data[5000:5100]
    assert setup.reader.fetched == 100
    assert await setup.data.read(setup.ino, SIZE - 10, 4096) == setup.reader.data[-10:]
    assert await setup.data.read(setup.ino, SIZE + 10, 4096) == b""


async def test_reads_of_what_is_here_do_not_wait(setup: Setup) -> None:
    setup.reader.here = True
    await setup.data.read(setup.ino, 0, 4096)
    assert setup.reader.fetched == 0


async def test_write_copies_all_data_up_first(setup: Setup) -> None:
    assert await setup.data.write(setup.ino, 10, b"new") == 3
    data = setup.reader.data
    whole = b""
    while piece := await setup.data.read(setup.ino, len(whole), 1 << 20):
        whole += piece
    assert whole == data[:10] + b"new" + data[13:]
    assert setup.reader.fetched == SIZE


async def test_truncation_brings_up_only_what_stays(setup: Setup) -> None:
    await setup.data.truncate(setup.ino, 7000)
    assert setup.reader.fetched == 7000
    assert setup.engine.getattr(setup.ino).size == 7000  # at once: no crash may show zeros instead


async def test_truncation_to_nothing_fetches_nothing(setup: Setup) -> None:
    await setup.data.truncate(setup.ino, 0)
    assert setup.reader.fetched == 0
    assert await setup.data.read(setup.ino, 0, 10) == b""


async def test_two_writers_share_one_copy_up(setup: Setup) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.data.bring_up, setup.ino)
        nursery.start_soon(setup.data.bring_up, setup.ino)
    assert setup.reader.fetched == SIZE


async def test_failed_copy_up_leaves_the_file_as_it_was(setup: Setup) -> None:
    setup.reader.fails = True
    with pytest.raises(ImagefsError, match="registry is down"):
        await setup.data.write(setup.ino, 0, b"x")
    setup.reader.fails = False
    assert await setup.data.read(setup.ino, 0, 10) == setup.reader.data[:10]
    assert await setup.data.write(setup.ino, 0, b"x") == 1
