"""Random tars with what must be read from them, made by the standard library. For tests only."""

from __future__ import annotations

import io
import stat
import tarfile
from typing import NamedTuple

from hypothesis import strategies as st

from imagefs.formats.index import Entry

_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    0: tarfile.LNKTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
_SIZES = (0, 1, 511, 512, 513, 4095, 4096, 4097, 10_000)


class Member(NamedTuple):
    """An entry, without a place in the data file, and its content."""

    entry: Entry
    content: bytes


class TarCase(NamedTuple):
    """A tar and its members in order."""

    blob: bytes
    members: list[Member]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def write_tar(members: list[Member], tar_format: int) -> bytes:
    """The members as a tar by the standard library; ValueError where the format cannot say it."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tar_format, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for entry, content in members:
            info = tarfile.TarInfo(_text(entry.path))
            info.type = _TYPES[entry.kind]
            info.mode, info.uid, info.gid, info.size = entry.mode, entry.uid, entry.gid, entry.size
            info.mtime = entry.mtime_ns // 1_000_000_000
            info.linkname = _text(entry.link)
            info.devmajor, info.devminor = entry.major, entry.minor
            if tar_format == tarfile.PAX_FORMAT:
                info.pax_headers = _pax_headers(entry)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _pax_headers(entry: Entry) -> dict[str, str]:
    headers = {"SCHILY.xattr." + _text(key): _text(value) for key, value in entry.xattrs}
    seconds, fraction = divmod(abs(entry.mtime_ns), 1_000_000_000)
    headers["mtime"] = f"{'-' if entry.mtime_ns < 0 else ''}{seconds}.{fraction:09d}"
    return headers


def _names(longest: int) -> st.SearchStrategy[bytes]:
    part = st.one_of(
        st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="/\x7f"))
        .map(lambda text: text.encode()[:longest])
        .filter(bool),
        st.binary(min_size=1, max_size=longest).filter(lambda name: not set(name) & {0, 47}),
        st.integers(1, longest).map(lambda length: b"n" * length),
    ).filter(lambda name: name not in (b".", b".."))
    return st.lists(part, min_size=1, max_size=4).map(b"/".join)


@st.composite
def members(draw: st.DrawFn, tar_format: int) -> Member:
    """One entry that `tar_format` can hold."""
    pax = tar_format == tarfile.PAX_FORMAT
    ustar = tar_format == tarfile.USTAR_FORMAT
    kind = draw(st.sampled_from(list(_TYPES)))
    names = _names(20 if ustar else 200)
    content = b""
    if kind == stat.S_IFREG:
        content = draw(st.binary(min_size=1, max_size=30)) * 400
        content = content[: draw(st.sampled_from(_SIZES))]
    ids = st.integers(0, 8**7 - 1 if ustar else 2**32 - 2)
    seconds = draw(st.integers(0, 2**33 - 1) if ustar else st.integers(-(2**33), 2**33 - 1))
    fraction = draw(st.integers(0, 999_999_999)) if pax else 0
    device = kind in (stat.S_IFCHR, stat.S_IFBLK)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    if pax:
        keys = st.text("abc.", min_size=1).map(lambda key: b"user." + key.encode())
        xattrs = tuple(draw(st.dictionaries(keys, st.binary(max_size=40), max_size=2)).items())
    entry = Entry(
        path=draw(names),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(ids),
        gid=draw(ids),
        size=len(content),
        mtime_ns=seconds * 1_000_000_000 + fraction,
        link=draw(names) if kind in (0, stat.S_IFLNK) else b"",
        major=draw(st.integers(0, 4095)) if device else 0,
        minor=draw(st.integers(0, 2**20 - 1)) if device else 0,
        xattrs=xattrs,
    )
    return Member(entry, content)


@st.composite
def tar_cases(draw: st.DrawFn) -> TarCase:
    """A random tar in a random format."""
    tar_format = draw(
        st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    )
    chosen = draw(st.lists(members(tar_format), max_size=6))
    return TarCase(write_tar(chosen, tar_format), chosen)
