"""Layers merge as others merge them: overlayfs over layers that GNU tar unpacked, and umoci.

Each case is a random stack of tars. docs/posix.md lists where the three are known to differ; the
cases keep away from that (every parent directory is described, nothing is reached through a
symlink), and links into lower layers are left to umoci.
"""

from __future__ import annotations

import ctypes
import io
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagefs.testing.layers import ScannedLayer, scan_blob
from imagefs.testing.oci_layout import LayoutWriter
from imagefs.testing.uppers import EngineDir, PlainDir, dump
from imagefs.tree import Tree, build_tree
from imagefs.upper import Caller, Engine

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_TIME = 1_500_000_000
_PATHS = ["/".join(parts) for depth in (1, 2, 3) for parts in product("abc", repeat=depth)]
_slow = {"deadline": None, "suppress_health_check": list(HealthCheck)}

#: What a layer does at a path: (path, what, number); the number varies mode, owner, data, target.
Step = tuple[str, str, int]
_WHAT = ["file", "dir", "symlink", "fifo", "device", "link", "gone", "opaque"]
_steps = st.lists(
    st.tuples(st.sampled_from(_PATHS), st.sampled_from(_WHAT), st.integers(0, 5)), max_size=12
)
_stacks = st.lists(_steps, min_size=2, max_size=4)


@dataclass
class Plan:
    """A layer that can be unpacked alone: parents are directories and are described."""

    members: dict[str, tuple[str, int]] = field(default_factory=dict)
    whiteouts: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, what: str, number: int) -> None:
        for at in range(1, path.count("/") + 1):
            above = "/".join(path.split("/")[:at])
            if self.members.get(above, ("", 0))[0] != "dir":
                self.members[above] = ("dir", number)
        if what != "dir":
            below = [name for name in self.members if name.startswith(f"{path}/")]
            for name in below:
                del self.members[name]
        self.members[path] = (what, number)

    def hide(self, path: str, number: int) -> None:
        above, _, name = path.rpartition("/")
        if above:
            self.put(above, "dir", number)
        self.whiteouts.add(f"{above}/.wh.{name}".lstrip("/"))

    def holds(self, path: str) -> bool:
        """Whether the directory of `path` is there once all is unpacked."""
        above = path.rpartition("/")[0]
        return not above or self.members.get(above, ("", 0))[0] == "dir"


def plan(steps: Sequence[Step]) -> Plan:
    made = Plan()
    links = []
    for path, what, number in steps:
        if what == "gone":
            made.hide(path, number)
        elif what == "opaque":
            made.put(path, "dir", number)
            made.whiteouts.add(f"{path}/.wh..wh..opq")
        elif what == "link":
            links.append((path, number))
        else:
            made.put(path, what, number)
    made.whiteouts = {path for path in made.whiteouts if made.holds(path)}
    files = sorted(path for path, (what, _) in made.members.items() if what == "file")
    for path, number in links:
        if files and path not in made.members and made.holds(path):
            made.links[path] = files[number % len(files)]
    return made


def tar_of(layer: Plan) -> bytes:
    """The layer's tar: parents first, whiteouts among them by name, links at the end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        root = tarfile.TarInfo("./")
        root.type, root.mode, root.mtime = tarfile.DIRTYPE, 0o755, _TIME
        tar.addfile(root)
        for path in sorted([*layer.members, *layer.whiteouts]):
            what, number = layer.members.get(path, ("", 0))
            _add(tar, path, what, number)
        for path, target in sorted(layer.links.items()):
            info = tarfile.TarInfo(path)
            info.type, info.linkname, info.mtime = tarfile.LNKTYPE, target, _TIME
            tar.addfile(info)
    return out.getvalue()


def _add(tar: tarfile.TarFile, path: str, what: str, number: int) -> None:
    info = tarfile.TarInfo(path)
    info.mtime = _TIME + number
    info.uid, info.gid = number, 2 * number
    data = b""
    if what == "dir":
        info.type, info.mode = tarfile.DIRTYPE, (0o755, 0o1777, 0o2750)[number % 3]
    elif what == "symlink":
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, f"x{number}", 0o777
    elif what == "fifo":
        info.type, info.mode = tarfile.FIFOTYPE, 0o622
    elif what == "device":
        info.type, info.mode, info.devmajor, info.devminor = tarfile.CHRTYPE, 0o600, 1, 3 + number
    elif what == "file":
        info.mode = (0o644, 0o4755)[number % 2]
        data = path.encode() * (number * 1000)
        info.size = len(data)
        if number == 1:
            info.pax_headers = {"SCHILY.xattr.user.k": path}
    tar.addfile(info, io.BytesIO(data))


class Merged(EngineDir):
    """Our own view of a stack, its content from the tars."""

    def __init__(self, layers: Sequence[ScannedLayer]) -> None:
        self.layers = layers
        tree = Tree.open(build_tree([layer.index for layer in layers]))
        super().__init__(Engine(tree), Caller(os.getpid(), 0, 0, 0o022))

    def read_ino(self, ino: int) -> bytes:
        content = self.engine.lower_content(ino)
        if content is None:
            return b""
        return self.layers[content.layer].sink.read(content.offset, content.size)


def ours(tars: Sequence[bytes], nlinks: bool) -> list[str]:
    return dump(Merged([scan_blob(blob) for blob in tars]), nlinks=nlinks)


class Shown(PlainDir):
    """An overlayfs, without the names it lists and cannot look up.

    That is what it does with a whiteout in a directory that only one layer has.
    """

    def names(self, path: bytes) -> list[bytes]:
        below = self.path(path) + b"/"
        return [name for name in super().names(path) if os.path.lexists(below + name)]


def unpack_alone(blob: bytes, into: Path) -> None:
    """One layer as overlayfs wants it: unpacked by GNU tar, its whiteouts in overlayfs's form."""
    into.mkdir()
    subprocess.run(
        [
            "tar",
            "-C",
            into,
            "-xp",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--delay-directory-restore",
        ],
        input=blob,
        check=True,
    )
    marks = sorted(into.rglob(".wh.*"))
    times = {mark.parent: mark.parent.stat().st_mtime_ns for mark in marks}
    for mark in marks:
        mark.unlink()
        hidden = mark.with_name(mark.name.removeprefix(".wh."))
        if mark.name == ".wh..wh..opq":
            os.setxattr(mark.parent, "trusted.overlay.opaque", b"y")
        elif not os.path.lexists(hidden):
            os.mknod(hidden, stat.S_IFCHR, 0)
        elif hidden.is_dir() and not hidden.is_symlink():
            os.setxattr(hidden, "trusted.overlay.opaque", b"y")
    for directory, mtime in times.items():
        os.utime(directory, ns=(mtime, mtime))


@contextmanager
def overlay_of(layers: Sequence[Path], at: Path) -> Iterator[PlainDir]:
    """overlayfs over directories, lowest first."""
    at.mkdir()
    lower = ":".join(str(layer) for layer in reversed(layers))
    data = f"lowerdir={lower},redirect_dir=on,metacopy=on,index=off,xino=on"
    if _libc.mount(b"overlay", os.fsencode(at), b"overlay", 1, data.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    with ExitStack() as stack:
        stack.callback(_libc.umount2, os.fsencode(at), _MNT_DETACH)
        shown = Shown(at)
        stack.callback(shown.close)
        yield shown


@given(_stacks)
@example([[("a/b", "file", 1)], [("a", "gone", 0), ("a/c", "file", 1)]])
@example([[("a/b", "file", 1)], [("a", "symlink", 0)], [("a/c", "dir", 2)]])
@example([[("a/b/c", "file", 1)], [("a/b", "opaque", 1)], [("a/b/a", "fifo", 1)]])
@example([[("a", "file", 1)], [("a/b", "opaque", 1)], [("a", "gone", 1)]])
@example([[("a/b", "file", 2), ("c", "link", 0)], [("a/b", "gone", 0)], [("a", "dir", 3)]])
@settings(max_examples=100, **_slow)  # type: ignore[arg-type]  # a dict of several types
def test_overlayfs_shows_the_same_over_layers_unpacked_alone(stack: list[list[Step]]) -> None:
    tars = [tar_of(plan(steps)) for steps in stack]
    with tempfile.TemporaryDirectory() as text:
        where = Path(text)
        layers = [where / f"layer{number}" for number in range(len(tars))]
        for blob, layer in zip(tars, layers, strict=True):
            unpack_alone(blob, layer)
        with overlay_of(layers, where / "merged") as shown:
            # overlayfs counts the names that a file has in its own layer
            assert ours(tars, nlinks=False) == dump(shown, nlinks=False)


def with_links_below(plans: list[Plan], numbers: Sequence[int]) -> None:
    """Let each layer link a file of those below it that it leaves alone."""
    for at, (layer, number) in enumerate(zip(plans[1:], numbers, strict=False), 1):
        tree = Tree.open(build_tree([scan_blob(tar_of(one)).index for one in plans[: at + 1]]))
        kept = sorted(
            path.decode()
            for path, ino in tree.walk()
            if stat.S_ISREG(tree.attr(ino).kind) and path.decode() not in layer.members
        )
        if kept and tree.lookup(b"linked") is None:
            layer.links["linked"] = kept[number % len(kept)]


@given(_stacks, st.lists(st.integers(0, 9), max_size=3))
@example([[("a/b", "file", 1)], [("a/b", "gone", 0), ("a/c", "file", 1)]], [])
@example([[("a/b", "file", 1)], [("a", "dir", 0)], [("a/b", "gone", 0)]], [0, 0])
@example([[("a/b", "file", 1)], [("b", "dir", 0)], [("a/b", "file", 2)]], [0, 0])
@settings(max_examples=40, **_slow)  # type: ignore[arg-type]  # a dict of several types
def test_umoci_unpacks_the_same(stack: list[list[Step]], links: list[int]) -> None:
    plans = [plan(steps) for steps in stack]
    with_links_below(plans, links)
    tars = [tar_of(one) for one in plans]
    with tempfile.TemporaryDirectory() as text:
        where = Path(text)
        writer = LayoutWriter(where / "image")
        layers = [writer.layer(_copying(blob), "none") for blob in tars]
        image = writer.image("t", layers, {})
        subprocess.run(
            ["umoci", "unpack", "--image", f"{image.path}:t", where / "bundle"],
            check=True,
            capture_output=True,
        )
        shown = PlainDir(where / "bundle" / "rootfs")
        try:
            assert ours(tars, nlinks=True) == dump(shown, nlinks=True)
        finally:
            shown.close()


def _copying(blob: bytes) -> Callable[[tarfile.TarFile], None]:
    """Writes the members of another tar."""

    def fill(tar: tarfile.TarFile) -> None:
        with tarfile.open(fileobj=io.BytesIO(blob)) as source:
            for info in source:
                tar.addfile(info, source.extractfile(info) if info.isreg() else None)

    return fill
