"""What tars of all dialects say, GNU tar being the oracle, and what is refused."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.formats.acl import acl_xattr
from imagefs.formats.index import Entry, FormatError
from imagefs.formats.tarfields import checksum, clean_path, number
from imagefs.testing.layers import ScannedLayer, scan_blob

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in [
        (0x01, 7, 0xFFFFFFFF),
        (0x02, 5, 54321),
        (0x04, 5, 0xFFFFFFFF),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 4, 0xFFFFFFFF),
    ]
)


def sealed(block: bytes | bytearray) -> bytes:
    """A header block with its checksum put right."""
    return bytes(block[:148]) + b"%06o\0 " % checksum(bytes(block)) + bytes(block[156:])


def header(
    name: bytes = b"file",
    kind: bytes = b"0",
    size: int = 0,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    fields: dict[int, bytes] | None = None,
) -> bytes:
    block = bytearray(512)
    places = {
        0: name,
        100: b"0000644\00000000\00000000\0",
        124: b"%011o\0" % size + b"00000000000\0",
        156: kind,
        157: link,
        257: magic,
        **(fields or {}),
    }
    for at, value in places.items():
        block[at : at + len(value)] = value
    return sealed(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def extended(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(rest) + len(str(n)))
        body += b"%d" % length + rest
    return header(b"pax", kind, len(body)) + padded(body)


def scan(*parts: bytes) -> ScannedLayer:
    return scan_blob(b"".join(parts) + bytes(1024), "none")


def entry(*parts: bytes) -> Entry:
    [found] = scan(*parts).index.entries
    return found


# GNU tar as oracle.


def make_tree(root: Path, longest: int) -> None:
    """Files of all kinds that an ordinary user can make."""
    root.mkdir()
    (root / "directory").mkdir(mode=0o750)
    (root / "directory" / "empty").touch(mode=0o600)
    (root / "plain").write_bytes(b"content" * 1000)
    (root / "plain").chmod(0o4755)
    os.utime(root / "plain", ns=(5, 1_234_567_890_123_456_789))
    os.utime(root / "directory" / "empty", ns=(5, -7_000_000_000))
    (root / "link").symlink_to("plain")
    os.link(root / "plain", root / "zz-hard")
    os.mkfifo(root / "fifo", 0o640)
    (root / ("n" * longest)).write_bytes(b"long")
    (root / "l").symlink_to("t" * longest)
    Path(os.fsdecode(bytes(root) + b"/caf\xe9")).write_bytes(b"latin-1")
    for runs in (1, 3, 40):
        with open(root / f"sparse-{runs}", "wb") as file:
            for run in range(runs):
                file.seek(run * 100_000 + 8192)
                file.write(b"data %d" % run * 700)
            file.truncate(runs * 100_000 + 333)
    with open(root / "hole", "wb") as file:
        file.truncate(70_000)


def gnu_tar(root: Path, *options: str) -> bytes:
    done = subprocess.run(
        ["tar", "-C", str(root), "--sort=name", *options, "-cf", "-", "."],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def compare_with_disk(layer: ScannedLayer, root: Path, *, nanoseconds: bool) -> None:
    contents = dict(layer.files())
    found = {entry.path: entry for entry in layer.index.entries}
    on_disk = [bytes(path.relative_to(root)) for path in root.rglob("*")]
    assert sorted(found) == sorted([b"", *on_disk])
    for path, entry in found.items():
        where = bytes(root) + b"/" + path
        status = os.lstat(where)
        if entry.kind == 0:
            target = os.lstat(bytes(root) + b"/" + entry.link)
            assert (target.st_dev, target.st_ino) == (status.st_dev, status.st_ino)
            continue
        assert entry.kind == stat.S_IFMT(status.st_mode)
        assert (entry.uid, entry.gid) == (status.st_uid, status.st_gid)
        unit = 1 if nanoseconds else 1_000_000_000
        assert entry.mtime_ns // unit == status.st_mtime_ns // unit
        if entry.kind == stat.S_IFLNK:
            assert entry.link == bytes(Path(os.fsdecode(where)).readlink())
        else:
            assert entry.mode == stat.S_IMODE(status.st_mode)
        if entry.kind == stat.S_IFREG:
            with open(where, "rb") as file:
                assert contents[path] == file.read()


@pytest.mark.parametrize(
    ("options", "nanoseconds", "longest"),
    [
        (["--format=gnu"], False, 200),
        (["--format=gnu", "-S", "--hole-detection=raw"], False, 200),
        (["--format=oldgnu", "-S", "--hole-detection=raw"], False, 200),
        (["--format=posix"], True, 200),
        (["--format=posix", "-S", "--hole-detection=raw", "--sparse-version=0.0"], True, 200),
        (["--format=posix", "-S", "--hole-detection=raw", "--sparse-version=0.1"], True, 200),
        (["--format=posix", "-S", "--hole-detection=raw", "--sparse-version=1.0"], True, 200),
        (["--format=ustar"], False, 90),
        (["--format=v7"], False, 90),
    ],
)
def test_gnu_tar_and_we_agree(
    tmp_path: Path, options: list[str], nanoseconds: bool, longest: int
) -> None:
    root = tmp_path / "tree"
    make_tree(root, longest)
    if longest < 100:
        # These formats have no room for it.
        os.utime(root / "directory" / "empty", ns=(0, 0))
    if options == ["--format=v7"]:
        (root / "fifo").unlink()
    blob = gnu_tar(root, *options)
    layer = scan_blob(blob, "none")
    compare_with_disk(layer, root, nanoseconds=nanoseconds)
    rest = scan_blob(blob, "none", range(0, len(blob), 77))
    assert rest.index.encode() == layer.index.encode()
    assert rest.files() == layer.files()
    if "-S" in options:
        assert len(blob) < 400_000
        places = {entry.path: entry for entry in layer.index.entries}
        hole = places[b"hole"]
        assert hole.size == 70_000
        assert not layer.index.chunks.covering(hole.data_offset, hole.size)


def test_acls_and_xattrs_of_gnu_tar(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    file = root / "file"
    file.touch(mode=0o754)
    values = {"system.posix_acl_access": ACL, "user.binary": bytes(range(256)), "user.empty": b""}
    for name, value in values.items():
        os.setxattr(file, name, value)
    os.setxattr(root, "system.posix_acl_default", ACL)
    blob = gnu_tar(root, "--format=posix", "--acls", "--xattrs")
    top, entry = scan_blob(blob, "none").index.entries
    assert dict(entry.xattrs) == {key.encode(): value for key, value in values.items()}
    assert dict(top.xattrs)[b"system.posix_acl_default"] == ACL


# Dialects, by hand.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"user::rwx,user:54321:r-x,group::r-x,mask::r-x,other::r--", ACL),
        (b"u::rwx\nu:lisa:r-x:54321\t#effective:r-x\ng::rx\nm::rx\no::r\n", ACL),
        (b"user::rwx,user:lisa:r-x,group::r-x,mask::r-x,other::r--", None),
    ],
)
def test_acl_texts(text: bytes, value: bytes | None) -> None:
    assert acl_xattr(text) == value


@pytest.mark.parametrize(
    "text", [b"user::rwx", b"x::rwx", b"user::rwz", b"user:", b"mask:1:r", b"user:99999999999:r"]
)
def test_what_is_no_acl_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="ACL"):
        scan(extended((b"SCHILY.acl.access", text)), header())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"./", b""),
        (b"/", b""),
        (b".", b""),
        (b"./etc/passwd", b"etc/passwd"),
        (b"/etc//x/./y/", b"etc/x/y"),
        (b"a/../b", b"b"),
        (b"a/..", b""),
        (b"..a/.b/c..", b"..a/.b/c.."),
        (b"./.wh.x", b".wh.x"),
    ],
)
def test_names_are_cleaned(name: bytes, path: bytes) -> None:
    assert clean_path(name) == path
    assert entry(header(name, b"5")).path == path


@pytest.mark.parametrize(
    "name", [b"..", b"a/../../b", b"./../x", b"/..", b"", b"a\0b", b"x" * 256, b"a/" + b"x" * 256]
)
def test_names_that_lead_nowhere_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        clean_path(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"    644 ", 0o644),
        (b" 644 \0\0\0", 0o644),
        (b"00000644", 0o644),
        (b"\0" * 8, 0),
        (b"644\0junk", 0o644),
        (b"\x80" + bytes(6) + b"\x05", 5),
        (b"\xff" * 7 + b"\xfe", -2),
        (b"\x80" + b"\xff" * 7, (1 << 56) - 1),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize("field", [b"0000898\0", b"-000001\0", b"0x1\0\0\0\0\0", b"1_0\0\0\0\0\0"])
def test_what_is_no_number_is_refused(field: bytes) -> None:
    with pytest.raises(FormatError, match="not a number"):
        scan(header(fields={108: field}), header())


def test_pax_overrides_one_entry_and_global_records_none() -> None:
    layer = scan(
        extended((b"uid", b"7"), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.a", b"b"), kind=b"g"),
        header(b"one"),
        extended((b"uid", b"3000000000"), (b"path", b"long/\xff"), (b"mtime", b"-0.25")),
        header(b"two"),
        header(b"three"),
    )
    assert [(e.path, e.uid, e.mtime_ns, e.xattrs) for e in layer.index.entries] == [
        (b"one", 0, 0, ()),
        (b"long/\xff", 3_000_000_000, -250_000_000, ()),
        (b"three", 0, 0, ()),
    ]


@pytest.mark.parametrize("key", [b"path", b"linkpath"])
def test_a_path_that_no_kernel_takes_is_refused(key: bytes) -> None:
    with pytest.raises(FormatError, match="longer than 4095 bytes"):
        scan(extended((key, b"a/" * 3000 + b"f")), header(b"x", b"1", link=b"y"))
    entry(extended((key, b"a/" * 2047 + b"f")), header(b"x", b"1", link=b"y"))


def test_a_sparse_map_ends() -> None:
    runs = 21 * (b"%011o\0" % 0 + b"%011o\0" % 0)
    fields = {386: runs[:96], 482: b"\1", 483: b"%011o\0" % 0}
    old = header(b"f", b"S", magic=b"ustar  \0", fields=fields)
    with pytest.raises(FormatError, match="does not end"):
        scan(old, (runs + b"\1" + bytes(7)) * 7000)


def test_pax_size_counts_over_the_header() -> None:
    layer = scan(extended((b"size", b"3")), header(size=0), padded(b"abc"), header(b"next"))
    assert layer.files() == [(b"file", b"abc"), (b"next", b"")]


def test_gnu_long_names_and_links() -> None:
    name, link = b"n/" * 150 + b"f", b"t" * 300
    found = entry(
        header(b"././@LongLink", b"L", len(name) + 1, magic=b"ustar  \0"),
        padded(name + b"\0"),
        header(b"././@LongLink", b"K", len(link) + 1, magic=b"ustar  \0"),
        padded(link + b"\0"),
        header(b"short", b"2", link=b"short", magic=b"ustar  \0"),
    )
    assert (found.path, found.link) == (name, link)


def test_prefixes_by_dialect() -> None:
    assert entry(header(b"f", fields={345: b"dir"})).path == b"dir/f"
    star = {345: b"dir", 476: b"00000000001\0", 508: b"tar\0"}
    assert entry(header(b"f", fields=star)).path == b"dir/f"
    times = {345: b"00000000001\0"}
    assert entry(header(b"f", magic=b"ustar  \0", fields=times)).path == b"f"
    assert entry(header(b"f", magic=b"ustar  \0", fields={345: b"old-go"})).path == b"old-go/f"


def test_old_directories_end_in_a_slash() -> None:
    assert entry(header(b"d/", b"\0", magic=b"")).kind == stat.S_IFDIR
    assert entry(header(b"d", b"\0", magic=b"")).kind == stat.S_IFREG


def test_signed_checksums_are_known() -> None:
    block = header(b"caf\xe9\xe9")
    total = checksum(block) - 512
    assert entry(block[:148] + b"%06o\0 " % total + block[156:]).path == b"caf\xe9\xe9"


def test_links_and_directories_have_no_content_whatever_they_say() -> None:
    layer = scan(header(b"d", b"5", 512), header(b"h", b"1", 99, b"d"), header(b"s", b"2", 9, b"t"))
    assert [entry.size for entry in layer.index.entries] == [0, 0, 0]


def test_duplicates_are_kept_in_order() -> None:
    layer = scan(header(b"a", size=1), padded(b"1"), header(b"a", size=1), padded(b"2"))
    assert layer.files() == [(b"a", b"1"), (b"a", b"2")]


def test_volume_labels_are_passed_over() -> None:
    assert entry(header(b"label", b"V", 700), bytes(1024), header(b"f")).path == b"f"


def test_times_beyond_64_bits_are_held() -> None:
    huge = entry(header(fields={136: b"\x80" + b"\x7f" * 11}))
    assert huge.mtime_ns == 2**63 - 1
    past = entry(extended((b"mtime", b"-99999999999999.9")), header())
    assert past.mtime_ns == -(2**63)


def test_the_end_marker_may_be_missing() -> None:
    blob = header(b"a", size=1) + padded(b"1")
    assert len(scan_blob(blob, "none").index.entries) == 1
    assert len(scan_blob(blob + bytes(512), "none").index.entries) == 1
    assert len(scan_blob(blob + bytes(700), "none").index.entries) == 1


# What is refused.

SPARSE = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"100"}


def sparse(text: bytes, data: bytes = b"", **other: bytes) -> bytes:
    """A sparse file of PAX format 1.0: its map, then its data."""
    records = {**SPARSE, **{f"GNU.sparse.{key}".encode(): value for key, value in other.items()}}
    content = padded(text) + data
    return extended(*records.items()) + header(size=len(content)) + padded(content)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (header(b"a") + b"x" * 512, "checksum"),
        (header(b"a", b"Z"), "of type 'Z' are unknown"),
        (header(b"a", b"M"), "another volume"),
        (header(b"../a"), "leads out of the image"),
        (header(b"a", b"1"), "name is empty"),
        (header(b"a", b"1", link=b"/"), "no target"),
        (header(b"a", b"2"), "no target"),
        (header(b"/"), "root of a layer must be a directory"),
        (header(b"a", b"3", fields={329: b"0077777\0"}), "out of Linux's range"),
        (header(fields={108: b"\xff" * 8}), "does not fit 32 bits"),
        (header(fields={124: b"\xff" * 12}), "size is negative"),
        (header(fields={124: b"\x80" + b"\x7f" * 11}), "63 bits"),
        (header(fields={124: b"\x80\0\0\0\0\x7f\0\0\0\0\0\0"}), "16 TiB"),
        (header(b"a", size=1), "truncated"),
        (header(b"a", size=1) + b"x", "truncated"),
        (header(b"a")[:-1], "truncated"),
        (extended((b"path", b"a")), "truncated"),
        (extended((b"path", b"a")) + bytes(1024), "after its extended header"),
        (header(b"a") + bytes(512) + header(b"b"), "single block of zeros"),
        (header(b"x", b"x", 1 << 21), "too long"),
        (header(b"x", b"L", 1 << 21), "too long"),
        (extended((b"path", b"a\0b")) + header(), "NUL"),
        (extended((b"linkpath", b"a\0b")) + header(kind=b"2"), "NUL"),
        (extended((b"uid", b"-1")) + header(), "not a number"),
        (extended((b"mtime", b"soon")) + header(), "not a time"),
        (extended((b"SCHILY.xattr.", b"")) + header(), "name of an extended attribute"),
        (extended((b"SCHILY.xattr.a", b"x" * 65537)) + header(), "longer than 64 KiB"),
        (header(b"x", b"x", 5) + padded(b"9 a=b"), "not as long"),
        (header(b"x", b"x", 5) + padded(b"x a=b"), "start with its length"),
        (header(b"x", b"x", 5) + padded(b"5 =b\n"), "no key"),
        (sparse(b"1\n0\n200\n"), "beyond the file"),
        (sparse(b"2\n50\n0\n0\n0\n"), "out of order"),
        (sparse(b"1\n0\n10\n"), "differ in size"),
        (sparse(b"x\n"), "not a number"),
        (sparse(b"9" * 400), "not a number"),
        (sparse(b"400\n" + b"1\n" * 100), "does not end"),
        (sparse(b"0\n", major=b"7"), "version of the sparse format"),
        (sparse(b"0\n", realsize=b"9" * 19), "out of range"),
        (extended((b"GNU.sparse.map", b"1,2,3"), (b"GNU.sparse.size", b"9")) + header(), "odd"),
        (extended((b"GNU.sparse.map", b"")) + header(), "does not say its size"),
        (extended((b"GNU.sparse.numbytes", b"1")) + header(), "out of order"),
    ],
)
def test_what_is_refused(blob: bytes, message: str) -> None:
    start = header(b"first")
    for cuts in (range(0), range(0, 4096, 100)):
        with pytest.raises(FormatError, match=message):
            scan_blob(start + blob, "none", cuts)


# Garbage in, only our error out.


def odd_archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("n" * 200)
        info.pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
        start = out.getvalue()[: tar.offset]
    old = {386: b"%011o\0%011o\0" % (0, 3), 482: b"\1", 483: b"%011o\0" % 5000}
    block = b"%011o\0%011o\0" % (4000, 2) + bytes(488)
    return (
        start
        + sparse(b"2\n0\n3\n50\n2\n", b"abcde")
        + header(b"old", b"S", 5, magic=b"ustar  \0", fields=old)
        + block
        + padded(b"abcde")
        + header(b"long", b"L", 600)
        + padded(b"l/" * 300)
        + header(b"x", b"3", fields={329: b"0000001\0", 337: b"0000003\0"})
        + bytes(1024)
    )


def test_the_odd_archive_is_sound() -> None:
    layer = scan_blob(odd_archive(), "none")
    assert [len(content) for _, content in layer.files()] == [5, 100, 5000]
    assert layer.files()[2][1] == b"abc" + bytes(3997) + b"de" + bytes(998)


def flipped(blob: bytearray, chance: random.Random) -> None:
    blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)


def field_changed(blob: bytearray, chance: random.Random) -> None:
    """A header's field replaced, and its checksum made to hold."""
    at = 512 * chance.randrange(len(blob) // 512)
    start = at + chance.choice([0, 100, 108, 116, 124, 136, 156, 157, 257, 345, 386, 482, 483])
    value = chance.choice(
        [b"\xff" * 12, b"\x80" * 8, b"0000777\0", b"S", b"x", b"L", b"../", b"9\n"]
    )
    blob[start : start + len(value)] = value
    blob[at : at + 512] = sealed(blob[at : at + 512])


def cut(blob: bytearray, chance: random.Random) -> None:
    del blob[chance.randrange(len(blob)) :]


def moved(blob: bytearray, chance: random.Random) -> None:
    at = 512 * chance.randrange(len(blob) // 512)
    del blob[at : at + 512]


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [flipped, field_changed, cut, moved]


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(DAMAGES), max_size=4))
def test_damage_raises_our_error_or_nothing(
    chance: random.Random, damages: list[Callable[[bytearray, random.Random], None]]
) -> None:
    blob = bytearray(odd_archive())
    for damage in damages:
        if len(blob) >= 512:
            damage(blob, chance)
    outcomes = []
    for cuts in (range(0), range(0, len(blob), 13)):
        try:
            layer = scan_blob(bytes(blob), "none", cuts)
        except FormatError as error:
            outcomes.append(str(error))
        else:
            outcomes.append(str(layer.index.digest))
    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=3000))
def test_noise_raises_our_error_of_one_line(blob: bytes) -> None:
    for start in (b"no tar", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"):
        with pytest.raises(FormatError) as caught:
            scan_blob(start + blob)
        assert "\n" not in str(caught.value)
