"""A mount whose content is here and was read: attributes, reads, find, against plain ext4."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import bare
from bench.measure import Row, clock, compare, read_everything, seconds_of
from bench.scene import Scene

_BLOCK = 4096
_OPEN_FILES = 500
_READS = 20_000
_STATS = 2


def run(scene: Scene) -> Iterator[Row]:
    """As rates: 1.0 is as fast as the peer, less is slower."""
    mounted, extracted = scene.mounted, scene.extracted
    read_everything(extracted)
    yield from _against(scene, mounted, extracted, "ext4", "")
    with _overlay(scene, extracted) as overlay:
        read_everything(overlay)
        yield from _against(scene, mounted, overlay, "overlayfs", " (overlayfs)")
    with _bare(scene, extracted) as thin:
        read_everything(thin)
        yield from _walks(scene, mounted, thin, "bare pyfuse3", " (bare pyfuse3)")


def _against(scene: Scene, mounted: Path, peer: Path, name: str, suffix: str) -> Iterator[Row]:
    names = [os.fsencode(p.relative_to(mounted)) for p in _walk(mounted)]
    goal = ">= 0.8" if not suffix else ""
    many = scene.rounds(41)  # of short runs, which others disturb less
    yield compare(
        f"stat of all {len(names)} files{suffix}",
        lambda: _stats(mounted, names),
        lambda: _stats(peer, names),
        peer_name=name,
        rounds=many,
        goal=goal,
        as_rate=True,
    )
    regular = [p for p in _walk(mounted) if stat.S_ISREG(p.lstat().st_mode)]
    by_size = sorted(regular, key=lambda p: p.lstat().st_size)
    some = [p for p in by_size if p.lstat().st_size >= 4 * _BLOCK][::3][:_OPEN_FILES]
    for what, files in ((f"{len(some)} open files", some), ("one big file", by_size[-1:])):
        relative = [p.relative_to(mounted) for p in files]
        with ExitStack() as stack:
            ours = [_opened(stack, mounted / path) for path in relative]
            theirs = [_opened(stack, peer / path) for path in relative]
            yield compare(
                f"random 4K reads, {what}{suffix}",
                partial(_reads, ours),
                partial(_reads, theirs),
                peer_name=name,
                rounds=many,
                goal=goal,
                as_rate=True,
            )
    yield from _walks(scene, mounted, peer, name, suffix)


def _walks(scene: Scene, mounted: Path, peer: Path, name: str, suffix: str) -> Iterator[Row]:
    for work, options in (("find", []), ("find -size", ["-size", "+1000G"])):
        yield compare(
            f"{work}{suffix}",
            partial(seconds_of, ["find", mounted, *options]),
            partial(seconds_of, ["find", peer, *options]),
            peer_name=name,
            rounds=scene.rounds(11),
            as_rate=True,
        )
    yield compare(
        f"read everything{suffix}",
        lambda: read_everything(mounted),
        lambda: read_everything(peer),
        peer_name=name,
        rounds=scene.rounds(5),
        as_rate=True,
    )


def _walk(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def _stats(root: Path, names: list[bytes]) -> float:
    """Seconds per storm; relative names, so that the path above doesn't count."""
    fd = os.open(root, os.O_PATH)
    here = os.open(".", os.O_PATH)
    try:
        os.fchdir(fd)
        return clock(lambda: [os.lstat(name) for _ in range(_STATS) for name in names])
    finally:
        os.fchdir(here)
        os.close(here)
        os.close(fd)


def _opened(stack: ExitStack, path: Path) -> tuple[int, int]:
    """(descriptor, how many whole blocks)."""
    file = stack.enter_context(path.open("rb", buffering=0))
    return file.fileno(), max(1, os.fstat(file.fileno()).st_size // _BLOCK)


def _reads(files: list[tuple[int, int]]) -> float:
    chance = random.Random(5)
    wanted = []
    for _ in range(_READS):
        fd, blocks = chance.choice(files)
        wanted.append((fd, chance.randrange(blocks) * _BLOCK))
    return clock(lambda: [os.pread(fd, _BLOCK, offset) for fd, offset in wanted])


@contextmanager
def _bare(scene: Scene, tree: Path) -> Iterator[Path]:
    """The same tree through pyfuse3 with hardly any Python behind it (bare.py)."""
    place = scene.directory / "bare"
    place.mkdir()
    command = [sys.executable, bare.__file__, str(tree), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)


@contextmanager
def _overlay(scene: Scene, lower: Path) -> Iterator[Path]:
    place = scene.directory / "overlay"
    for name in ("upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
    merged = place / "merged"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    try:
        yield merged
    finally:
        subprocess.run(["umount", merged], check=True)
