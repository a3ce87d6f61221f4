"""A disk that is full: the store stays whole, and who writes inside a mount is told."""

from __future__ import annotations

import errno
import io
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from harness.command import Cli
from harness.hostile import HostileRegistry, digest_of, tar
from harness.refusals import Refusals

from imagefs.testing.oci_layout import Layout, LayoutWriter

SIZE = 24 << 20
LARGE = tar({"large": random.Random(7).randbytes(40 << 20)})


@pytest.fixture
def small(run_cli: Cli) -> Iterator[Refusals]:
    """A store on a disk of 24 MiB."""
    run_cli.root.mkdir()
    options = f"size={SIZE},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", run_cli.root], check=True)
    try:
        yield Refusals(run_cli)
    finally:
        run_cli.clean()  # mounts below first: their uppers are on this disk
        subprocess.run(["umount", "-l", run_cli.root], check=False, capture_output=True)


@pytest.fixture
def image(tmp_path: Path) -> Layout:
    """A small good image."""
    writer = LayoutWriter(tmp_path / "layout")
    return writer.image("1", [writer.layer(_one_file)], {"Cmd": ["/x"]})


def _one_file(archive: tarfile.TarFile) -> None:
    info = tarfile.TarInfo("file")
    info.size = 1 << 16
    archive.addfile(info, io.BytesIO(random.Random(1).randbytes(info.size)))


def fill(path: Path, leave: int = 0) -> None:
    """Leave `leave` bytes of a file system."""
    free = os.statvfs(path)
    size = free.f_bavail * free.f_bsize - leave
    with open(path / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def write_for_ever(file: BinaryIO) -> None:
    while True:
        file.write(bytes(1 << 16))


def test_pull_and_first_mount(small: Refusals, hostile: HostileRegistry) -> None:
    blob = hostile.blob(LARGE, "application/vnd.oci.image.layer.v1.tar")
    name = hostile.image([blob], hostile.config([digest_of(LARGE)]))
    says = ["No space left on device", "system gc"]
    small("pull", "-q", name, says=says)
    small("mount", "-q", name, small.cli.mountpoint("here"), says=says)
    assert small.cli("system", "fsck").stdout == ""


def test_writer_inside_a_mount(small: Refusals, image: Layout) -> None:
    place = small.cli.mountpoint("here")
    small.cli("mount", "-q", str(image), place)
    (place / "before").write_bytes(b"written in time")
    with open(place / "large", "wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left") as caught:
            write_for_ever(file)
        assert caught.value.errno == errno.ENOSPC
    assert (place / "before").read_bytes() == b"written in time"
    os.truncate(place / "large", 0)  # at once, as unlink isn't: a close is told the server later
    (place / "after").write_bytes(b"there is room again")
    small.cli("umount", place)
    assert small.cli("system", "fsck").stdout == ""


def test_commit(small: Refusals, image: Layout) -> None:
    place = small.cli.mountpoint("here")
    small.cli("mount", "-q", str(image), place)
    (place / "large").write_bytes(random.Random(7).randbytes(14 << 20))
    small("commit", "-q", place, "new:1", says=["No space left on device", "system gc"])
    assert small.cli("system", "fsck").stdout == ""
    os.truncate(place / "large", 0)
    small.cli("commit", "-q", place, "new:1")
    assert small.cli("system", "fsck").stdout == ""


@pytest.mark.parametrize("leave", [0, 32 << 10, 128 << 10])
def test_every_verb_that_writes(leave: int, small: Refusals, image: Layout) -> None:
    """Nearly nothing is left: each either works or says so, and the store is whole."""
    small.cli("pull", "-q", str(image))
    name = small.cli("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.strip()
    fill(small.cli.root, leave)
    place = small.cli.mountpoint("here")
    lines: list[list[str]] = [
        ["mount", "-q", name, str(place)],
        ["tag", name, "other:1"],
        ["pull", "-q", str(image)],
        ["rmi", "other:1"],
        ["umount", "--all", "--discard"],
    ]
    for line in lines:
        done = small.cli(*line, status=None)
        assert "Traceback" not in done.stderr
        if done.returncode != 0 and line[0] != "rmi":
            assert "No space left on device" in done.stderr, (line, done.stderr)
    assert small.cli("system", "fsck").stdout == ""
    assert name in small.cli("images", "--format", "{{.Repository}}:{{.Tag}}").stdout
    assert "content" in small.cli("system", "gc", "--content").stdout
    (small.cli.root / "filler").unlink()
    small.cli("tag", name, "other:1")
    small.cli("mount", "-q", name, place)


def test_upper_that_fills_the_disk_can_be_dropped(small: Refusals, image: Layout) -> None:
    place = small.cli.mountpoint("here")
    small.cli("mount", "-q", str(image), place)
    with open(place / "large", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        write_for_ever(file)
    mount = small.cli("umount", place).stdout.strip()
    small.cli("mounts", "rm", mount)
    assert small.cli("system", "fsck").stdout == ""
    small.cli("mount", "-q", str(image), place)
    with open(place / "large", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        write_for_ever(file)
    small.cli("umount", "--discard", place)
    assert small.cli("system", "fsck").stdout == ""


def test_new_store(small: Refusals) -> None:
    fill(small.cli.root)
    root = small.cli.root / "inner"
    done = small.cli("--root", root, "images", status=125)
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    (small.cli.root / "filler").unlink()
    small.cli("--root", root, "images")


def test_reader_of_what_there_is_no_room_to_keep(small: Refusals, hostile: HostileRegistry) -> None:
    """It is told, as a writer is; with room again the same file reads."""
    data = random.Random(7).randbytes(4 << 20)
    archive = tar({"file": data})
    blob = hostile.blob(archive, "application/vnd.oci.image.layer.v1.tar")
    name = hostile.image([blob], hostile.config([digest_of(archive)]))
    small.cli("pull", "-q", name)
    small.cli("system", "gc", "--content")
    place = small.cli.mountpoint("here")
    small.cli("mount", "-q", name, place)
    fill(small.cli.root)
    with pytest.raises(OSError, match="No space left"):
        (place / "file").read_bytes()
    (small.cli.root / "filler").unlink()
    assert (place / "file").read_bytes() == data
    assert small.cli("system", "fsck").stdout == ""
