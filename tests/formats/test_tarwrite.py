"""What the writer makes is read back the same by our parser, the standard library and GNU tar."""

from __future__ import annotations

import io
import subprocess
import tarfile

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.formats.index import Entry, FormatError
from imagefs.formats.tarwrite import TarWriter
from imagefs.testing.layers import scan_blob
from imagefs.testing.tars import Member, members


def written(members: list[Member]) -> bytes:
    writer = TarWriter()
    out = bytearray()
    for entry, content in members:
        out += writer.header(entry) + content + writer.padding(len(content))
    return bytes(out + writer.end())


@given(st.lists(members(tarfile.PAX_FORMAT), max_size=6))
def test_our_parser_reads_it_back(members: list[Member]) -> None:
    layer = scan_blob(written(members), "none")
    found = [msgspec.structs.replace(entry, data_offset=0) for entry in layer.index.entries]
    expected = [
        msgspec.structs.replace(entry, xattrs=tuple(sorted(entry.xattrs))) for entry, _ in members
    ]
    assert found == expected


@given(st.lists(members(tarfile.PAX_FORMAT), max_size=6))
def test_the_standard_library_reads_it_back(members: list[Member]) -> None:
    blob = io.BytesIO(written(members))
    with tarfile.open(fileobj=blob, encoding="utf-8", errors="surrogateescape") as tar:
        infos = tar.getmembers()
        assert len(infos) == len(members)
        for info, (entry, content) in zip(infos, members, strict=True):
            assert info.name.encode("utf-8", "surrogateescape").rstrip(b"/") == entry.path
            assert info.linkname.encode("utf-8", "surrogateescape") == entry.link
            assert (info.mode, info.uid, info.gid) == (entry.mode, entry.uid, entry.gid)
            assert (info.devmajor, info.devminor) == (entry.major, entry.minor)
            assert info.mtime == pytest.approx(entry.mtime_ns / 1e9)
            if info.isreg():
                body = tar.extractfile(info)
                assert body is not None
                assert body.read() == content


def test_gnu_tar_lists_it() -> None:
    entries = [
        Entry(b"", 0o040000, 0o755, 1, 2, 0, 1_500_000_000_123_456_789),
        Entry(b"d/" + b"long" * 40, 0o100000, 0o4755, 3_000_000, 7, 3, -5_000_000_000),
        Entry("d/\N{SNOWMAN}".encode(), 0o120000, 0o777, link=b"target" * 30),
        Entry(b"d/hard", 0, 0o644, link=b"d/" + b"long" * 40),
        Entry(b"null", 0o020000, 0o666, major=1, minor=3),
    ]
    blob = written([Member(entry, b"abc"[: entry.size]) for entry in entries])
    listed = subprocess.run(
        ["tar", "--numeric-owner", "--full-time", "--utc", "-tvf", "-"],
        input=blob,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    lines = listed.stdout.decode().splitlines()
    assert listed.stderr == b""
    assert [line.split()[:2] for line in lines] == [
        ["drwxr-xr-x", "1/2"],
        ["-rwsr-xr-x", "3000000/7"],
        ["lrwxrwxrwx", "0/0"],
        ["hrw-r--r--", "0/0"],
        ["crw-rw-rw-", "0/0"],
    ]
    assert "2017-07-14 02:40:00.123456789 ./" in lines[0]
    assert "1969-12-31 23:59:55" in lines[1]
    assert lines[2].endswith("-> " + "target" * 30)


def test_plain_entries_have_no_extended_header() -> None:
    assert len(TarWriter().header(Entry(b"etc/passwd", 0o100000, 0o644, size=3))) == 512


def test_the_same_entry_gives_the_same_bytes() -> None:
    one = Entry(b"x" * 200, 0o100000, 0o644, xattrs=((b"user.b", b"2"), (b"user.a", b"1")))
    other = msgspec.structs.replace(one, xattrs=one.xattrs[::-1])
    assert TarWriter().header(one) == TarWriter().header(other)


@pytest.mark.parametrize("length", range(80, 130))
def test_a_record_counts_its_own_length(length: int) -> None:
    path = b"\xc3\xa9" + b"n" * length
    layer = scan_blob(written([Member(Entry(path, 0o010000, 0o600), b"")]), "none")
    assert layer.index.entries[0].path == path


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"socket", 0o140000, 0o600),
        Entry(b"file", 0o100000, 0o600, xattrs=((b"user.a=b", b""),)),
    ],
)
def test_what_no_tar_can_say_is_an_error(entry: Entry) -> None:
    with pytest.raises(FormatError):
        TarWriter().header(entry)


def test_big_numbers_survive() -> None:
    entry = Entry(b"huge", 0o100000, 0o600, 2**32 - 2, 2**22, 8**11 + 5)
    header = TarWriter().header(entry)
    info = tarfile.TarInfo.frombuf(header[-512:], "utf-8", "strict")
    assert info.name == "huge"
    with tarfile.open(fileobj=io.BytesIO(header), mode="r:") as tar:
        found = tar.next()
    assert found is not None
    assert (found.size, found.uid, found.gid) == (8**11 + 5, 2**32 - 2, 2**22)
