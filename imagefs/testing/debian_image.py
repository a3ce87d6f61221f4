"""Builds real images from Debian packages and keeps them in a cache; pulls from no registry.

`python` is what people run: a minimal Debian, python3 with numpy and flask on top of it, an
application on top of that. `busybox` is one small layer. `edge` has what images rarely hold.
Each comes as gzip, zstd or plain tar. The first build takes about a minute, later ones nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from imagefs.testing import debian_packages, oci_layout
from imagefs.testing.oci_layout import Compression, Layer, Layout, LayoutWriter

PACKAGES = ("python3", "python3-numpy", "python3-flask")
TAG = "latest"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Files of the images that have no date of their own: 2024-01-01.
_TIME = 1704067200

APPLICATION = b"""\
import flask
import numpy

app = flask.Flask(__name__)


@app.get("/")
def answer() -> dict[str, float]:
    return {"answer": float(numpy.prod([6, 7]))}
"""


def default_cache() -> Path:
    """Return where built images are kept: $IMAGEFS_TEST_CACHE, or under the user's cache."""
    named = os.environ.get("IMAGEFS_TEST_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "imagefs-tests"


class DebianImages:
    """The images, each built when it is first asked for; safe between processes."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache or default_cache()
        self._cache.mkdir(parents=True, exist_ok=True)

    def python(self, compression: Compression = "gzip") -> Layout:
        """Debian, python3 with numpy and flask, an application: three layers, 12,000 files."""
        return self._layout("python", compression, self._python)

    def busybox(self, compression: Compression = "gzip") -> Layout:
        """One layer of 2 MB: a static busybox with a link for each of its applets."""
        return self._layout("busybox", compression, _busybox)

    def edge(self, compression: Compression = "gzip") -> Layout:
        """Busybox under two layers of odd names, links, whiteouts, types, sizes and xattrs."""
        return self._layout("edge", compression, _edge)

    def _layout(
        self,
        name: str,
        compression: Compression,
        build: Callable[[LayoutWriter, Compression], Layout],
    ) -> Layout:
        def make(path: Path) -> None:
            build(LayoutWriter(path), compression)

        recipe = _recipe(*map(_source, (debian_packages.__file__, oci_layout.__file__, __file__)))
        return Layout(self._made(f"{name}-{compression}-{recipe}", make), TAG)

    def _python(self, writer: LayoutWriter, compression: Compression) -> Layout:
        def make(path: Path) -> None:
            path.mkdir()
            debian_packages.bootstrap(path / "base.tar", path / "full.tar", PACKAGES)

        recipe = _recipe(_source(debian_packages.__file__), *PACKAGES)
        tars = self._made(f"tars-{debian_packages.codename()}-{recipe}", make)
        base, full = tars / "base.tar", tars / "full.tar"
        layers = [
            writer.layer(lambda tar: _copy_base(base, tar), compression, "mmdebstrap minbase"),
            writer.layer(
                lambda tar: _copy_difference(base, full, tar),
                compression,
                f"apt-get install {' '.join(PACKAGES)}",
            ),
            writer.layer(_application, compression, "COPY app /app"),
        ]
        config = {
            "Env": [_PATH, "FLASK_APP=/app/app.py"],
            "Cmd": ["python3"],
            "WorkingDir": "/app",
            "Labels": {"org.opencontainers.image.title": "python"},
        }
        return writer.image(TAG, layers, config)

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return the cached `name`; made under a lock, beside its place, and moved there whole."""
        path = self._cache / name
        with _locked(self._cache / f"{name.split('-')[0]}.lock"):
            if not path.exists():
                partial = path.with_name(f"{name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                make(partial)
                partial.rename(path)
        return path


def _recipe(*texts: str) -> str:
    """Name a recipe by its own text, so that an edited one makes a new image."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _source(module_file: str) -> str:
    return Path(module_file).read_text()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cleaned(member: tarfile.TarInfo) -> str:
    """Rewrite names as image tools do, without the leading `./`; return the name, "" for root."""
    member.name = member.name.removeprefix("./").removesuffix("/")
    if member.islnk():
        member.linkname = member.linkname.removeprefix("./")
    member.pax_headers = {
        key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")
    }
    member.uname = member.gname = ""
    return "" if member.name == "." else member.name


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        name = _cleaned(member)
        if name and name.split("/")[0] not in debian_packages.RUNTIME_DIRECTORIES:
            yield member


def _copy(source: tarfile.TarFile, member: tarfile.TarInfo, out: tarfile.TarFile) -> None:
    out.addfile(member, source.extractfile(member) if member.isreg() else None)


def _copy_base(base: Path, out: tarfile.TarFile) -> None:
    for name in debian_packages.RUNTIME_DIRECTORIES:
        _add(out, name, kind=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
    with tarfile.open(base) as source:
        for member in _members(source):
            _copy(source, member, out)


def _copy_difference(base: Path, full: Path, out: tarfile.TarFile) -> None:
    """Write what changed, with whiteouts for what is gone, as a build of that step would."""
    with tarfile.open(base) as old_tar, tarfile.open(full) as new_tar:
        old = {member.name: member for member in _members(old_tar)}
        new = {member.name: member for member in _members(new_tar)}
        gone = {name for name in old if name not in new}
        for name in sorted(gone):
            parent, _, leaf = name.rpartition("/")
            if parent not in gone:
                _add(out, f"{parent}/.wh.{leaf}".lstrip("/"))
        changed = {
            name for name in new if name not in old or _state(new[name]) != _state(old[name])
        }
        # A hard link needs its target in the same layer.
        changed |= {new[name].linkname for name in changed if new[name].islnk()}
        for name in new:
            if name in changed:
                _copy(new_tar, new[name], out)


def _state(member: tarfile.TarInfo) -> tuple[object, ...]:
    size = member.size if member.isreg() else 0
    # The two tars come from different writers: only one has fractions of seconds.
    time = 0 if member.isdir() else int(member.mtime)
    return (member.type, member.mode, member.uid, member.gid, size, time, member.linkname)


def _add(
    tar: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    owner: tuple[int, int] = (0, 0),
    mtime: float = _TIME,
    xattrs: dict[str, str] | None = None,
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname = kind, mode, link
    member.size, member.mtime = len(data), mtime
    member.uid, member.gid = owner
    member.devmajor, member.devminor = device
    member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
    body: IO[bytes] = io.BytesIO(data)
    tar.addfile(member, body)


def _application(tar: tarfile.TarFile) -> None:
    _add(tar, "app", kind=tarfile.DIRTYPE, mode=0o755)
    _add(tar, "app/app.py", APPLICATION, xattrs={"user.imagefs.origin": "demo"})
    _add(tar, "app/main.py", kind=tarfile.LNKTYPE, link="app/app.py")
    _add(tar, "app/current", kind=tarfile.SYMTYPE, link="app.py", mode=0o777)
    _add(tar, "app/data.bin", bytes(range(256)) * 4096, owner=(1000, 1000), mode=0o640)
    # A file goes, a directory goes, a directory's old contents go, a file becomes a directory.
    _add(tar, "etc/.wh.motd")
    _add(tar, "usr/share/.wh.lintian")
    _add(tar, "usr/share/locale", kind=tarfile.DIRTYPE, mode=0o755)
    _add(tar, "usr/share/locale/.wh..wh..opq")
    _add(tar, "usr/share/locale/README", b"No locales in this image.\n")
    _add(tar, "etc/issue.net", kind=tarfile.DIRTYPE, mode=0o755)
    _add(tar, "etc/issue.net/en", b"Welcome.\n")


def _busybox_layer(tar: tarfile.TarFile) -> None:
    binary = Path(shutil.which("busybox") or "/bin/busybox")
    listed = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True)
    applets = listed.stdout.split()
    for name in ("bin", "etc", "root", *debian_packages.RUNTIME_DIRECTORIES):
        _add(tar, name, kind=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
    _add(tar, "bin/busybox", binary.read_bytes(), mode=0o755)
    for applet in applets:
        if applet != "busybox":
            _add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox", mode=0o777)
    _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    _add(tar, "etc/group", b"root:x:0:\nstaff:x:50:user\nuser:x:1000:\n")


def _busybox(writer: LayoutWriter, compression: Compression) -> Layout:
    layer = writer.layer(_busybox_layer, compression, "busybox")
    return writer.image(TAG, [layer], {"Env": [_PATH], "Cmd": ["sh"]})


def _edge(writer: LayoutWriter, compression: Compression) -> Layout:
    layers: list[Layer] = [
        writer.layer(_busybox_layer, compression, "busybox"),
        writer.layer(_odd_entries, compression, "odd entries"),
        writer.layer(_odd_changes, compression, "odd changes", tarfile.GNU_FORMAT),
    ]
    return writer.image(TAG, layers, {"Env": [_PATH], "Cmd": ["sh"], "User": "user"})


def _odd_entries(tar: tarfile.TarFile) -> None:
    _add(tar, "odd", kind=tarfile.DIRTYPE, mode=0o3775, owner=(1000, 50))
    _add(tar, "odd/setuid", b"#!/bin/sh\n", mode=0o4755)
    _add(tar, "odd/empty")
    _add(tar, "odd/" + "long/" * 60 + "name" * 40, b"deep\n")
    _add(tar, "odd/" + "n" * 255, b"wide\n")
    _add(tar, os.fsdecode(b"odd/latin-\xe9"), b"not UTF-8\n")
    _add(tar, "odd/new\nline", b"two lines in a name\n")
    _add(tar, "odd/nanoseconds", b"x", mtime=1234567890.123456789)
    _add(tar, "odd/before-1970", b"x", mtime=-86400.5)
    _add(tar, "odd/big-owner", b"x", owner=(3_000_000, 3_000_001))
    _add(tar, "odd/fifo", kind=tarfile.FIFOTYPE)
    _add(tar, "odd/null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    _add(tar, "odd/loop", kind=tarfile.BLKTYPE, device=(7, 0), mode=0o660)
    _add(tar, "odd/dangling", kind=tarfile.SYMTYPE, link="/no/where", mode=0o777)
    _add(tar, "odd/first", b"three names\n" * 1000, xattrs={"user.note": "shared"})
    _add(tar, "odd/second", kind=tarfile.LNKTYPE, link="odd/first")
    _add(tar, "odd/third", kind=tarfile.LNKTYPE, link="odd/second")
    _add(tar, "odd/no-parent/of/its/own", b"parents are implied\n")
    _add(tar, "odd/zeros", bytes(3 << 20))
    for name in ("goes", "stays", "retyped", "opaque/old", "tree/below/leaf"):
        _add(tar, f"odd/{name}", f"{name}\n".encode())


def _odd_changes(tar: tarfile.TarFile) -> None:
    _add(tar, "odd/.wh.goes")
    _add(tar, "odd/.wh.never-was")
    _add(tar, "odd/opaque", kind=tarfile.DIRTYPE, mode=0o700)
    # The marker hides what is below, not what this layer already wrote.
    _add(tar, "odd/opaque/new", b"new\n")
    _add(tar, "odd/opaque/.wh..wh..opq")
    _add(tar, "odd/retyped", kind=tarfile.DIRTYPE, mode=stat.S_IRWXU)
    _add(tar, "odd/retyped/inside", b"once a file\n")
    _add(tar, "odd/tree", b"once a directory\n")
    _add(tar, "odd/across", kind=tarfile.LNKTYPE, link="odd/first")
    _add(tar, "odd/second", b"a file of its own now\n")
