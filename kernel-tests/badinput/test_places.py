"""Where to mount, where the store is, and what the host has not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness.command import COMMAND
from harness.refusals import Refusals, assert_says, the_line

from imagefs.testing.oci_layout import Layout, LayoutWriter


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A small good image."""
    writer = LayoutWriter(tmp_path_factory.mktemp("layout"))
    return writer.image("1", [writer.layer(lambda archive: None)], {"Cmd": ["/x"]})


def test_mount_point_that_is_missing(image: Layout, refused: Refusals) -> None:
    place = refused.cli.directory / "nowhere"
    refused(
        "mount", "-q", str(image), place, says=[str(place), "No such file", "make the directory"]
    )


def test_mount_point_that_is_a_file(image: Layout, refused: Refusals) -> None:
    place = refused.cli.directory / "file"
    place.touch()
    refused(
        "mount", "-q", str(image), place, says=[str(place), "not a directory", "name a directory"]
    )


def test_mount_point_below_a_file(image: Layout, refused: Refusals) -> None:
    place = refused.cli.directory / "file"
    place.touch()
    refused("mount", "-q", str(image), place / "x", says=["Not a directory"])


def test_mount_point_that_is_not_empty(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    (place / "file").touch()
    refused("mount", "-q", str(image), place, says=[str(place), "not empty", "--non-empty"])


def test_mount_point_that_is_a_mount_already(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    refused.cli("mount", "-q", str(image), place)
    refused("mount", "-q", str(image), place, says=[str(place), "already a mount", "umount"])
    refused("mount", "-q", str(image), place.parent / "." / "here", says=["already a mount"])


def test_umount_of_nothing(refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    refused("umount", place, says=[str(place), "no such mount"])
    refused("umount", "0123456789ab", says=["0123456789ab", "no such mount"])
    refused("umount", "/proc", says=["/proc", "no such mount"])


def test_umount_goes_on_after_what_failed(image: Layout, refused: Refusals) -> None:
    place, other = refused.cli.mountpoint("here"), refused.cli.mountpoint("there")
    mount = refused.cli("mount", "-q", str(image), place).stdout
    done = refused.cli("umount", other, place, status=125)
    assert done.stdout == mount
    assert_says(the_line(done.stderr), [str(other), "no such mount"])
    assert not place.is_mount()


def test_umount_of_a_busy_mount_names_its_holder(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    refused.cli("mount", "-q", str(image), place)
    holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=place)
    try:
        refused("umount", place, says=[str(place), "busy", "cat", str(holder.pid), "--force"])
    finally:
        holder.communicate()
    refused.cli("umount", "--discard", place)


def test_commit_of_a_read_only_mount(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    refused.cli("mount", "-q", "--read-only", str(image), place)
    refused("commit", place, "new:1", says=[str(place), "read-only", "nothing to commit"])


def test_resume_of_what_is_mounted_or_unknown(image: Layout, refused: Refusals) -> None:
    place, other = refused.cli.mountpoint("here"), refused.cli.mountpoint("there")
    mount = refused.cli("mount", "-q", str(image), place).stdout.strip()
    refused("mount", "--resume", mount, other, says=[mount, "still in use", str(place)])
    refused("mount", "--resume", "ffffffffffff", other, says=["ffffffffffff", "no such mount"])
    refused("mounts", "rm", mount, says=[mount, "umount it first"])


def in_namespace(refused: Refusals, prepare: str, *arguments: str | Path) -> str:
    """The line of a command that runs with mounts of its own, made by the script `prepare`."""
    before = refused.state()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{prepare}\nexec "$@"', "sh", COMMAND, *arguments],
        env=refused.cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 125, done.stderr
    refused.assert_as(before)
    return the_line(done.stderr)


HIDE_DEV = "mount -t tmpfs none /dev; mknod /dev/null c 1 3; mknod /dev/urandom c 1 9"


def test_without_dev_fuse(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    line = in_namespace(refused, HIDE_DEV, "mount", "-q", str(image), place)
    assert_says(line, ["/dev/fuse", "missing", "modprobe fuse"])


def test_dev_fuse_that_may_not_be_opened(image: Layout, refused: Refusals) -> None:
    """What a container sees whose device cgroup has no FUSE: a node without a device behind it."""
    refused.cli("pull", "-q", str(image))
    place = refused.cli.mountpoint("here")
    prepare = f"{HIDE_DEV}; mknod /dev/fuse c 10 250"
    line = in_namespace(refused, prepare, "mount", "-q", "--pull=never", str(image), place)
    assert_says(line, ["/dev/fuse", "No such device"])


def as_ordinary_user(refused: Refusals, *arguments: str | Path, **environment: str) -> str:
    """The line of a command run by a user who owns the same files as root and may no more.

    Another user of the machine need not be able to reach the command that is tested.
    """
    before = refused.state()
    done = subprocess.run(
        ["/usr/bin/unshare", "--map-user=1000", "--map-group=1000", COMMAND, *arguments],
        env={**refused.cli.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 125, done.stderr
    refused.assert_as(before)
    return the_line(done.stderr)


def test_without_fusermount3(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    line = as_ordinary_user(refused, "mount", "-q", str(image), place, PATH=str(place))
    assert_says(line, ["fusermount3", "not found", "fuse3"])


def test_store_that_may_not_be_written(refused: Refusals) -> None:
    closed = refused.cli.directory / "closed"
    closed.mkdir(mode=0o500)
    line = as_ordinary_user(refused, "--root", closed / "store", "images")
    assert_says(line, [str(closed / "store"), "Permission denied", "--root"])
    assert list(closed.iterdir()) == []


def test_store_that_is_a_file(refused: Refusals) -> None:
    path = refused.cli.directory / "file"
    path.write_bytes(b"precious")
    refused("--root", path, "images", says=[str(path), "Not a directory", "--root"])
    assert path.read_bytes() == b"precious"


def test_store_that_is_another_directory(refused: Refusals) -> None:
    """What is not a store is not made one, unless it is empty."""
    path = refused.cli.directory / "home"
    path.mkdir()
    (path / "letter").write_bytes(b"precious")
    refused("--root", path, "images", says=[str(path), "not a store", "--root"])
    assert [entry.name for entry in path.iterdir()] == ["letter"]


def test_store_of_a_newer_version(refused: Refusals) -> None:
    version = refused.cli.root / "version"
    version.write_text("imagefs store 999\n")
    refused("images", says=["version", "999", "use a newer imagefs", "--root"])


def test_store_with_a_damaged_database(refused: Refusals) -> None:
    database = refused.cli.root / "meta.db"
    raw = bytearray(database.read_bytes())
    raw[:100] = bytes(100)
    database.write_bytes(raw)
    database.with_name("meta.db-wal").unlink()  # which has all of a database so small
    done = refused.cli("images", status=125)
    assert_says(the_line(done.stderr), [str(database), "damaged"])


def test_mount_point_that_somebody_else_uses(image: Layout, refused: Refusals) -> None:
    place = refused.cli.mountpoint("here")
    subprocess.run(["mount", "-t", "tmpfs", "somebody", place], check=True)
    refused("mount", "-q", str(image), place, says=[str(place), "already a mount (somebody)"])
    refused("umount", place, says=[str(place), "no such mount"])
    assert place.is_mount()


@pytest.mark.parametrize("program", ["runc", "conmon"])
def test_run_without(program: str, image: Layout, refused: Refusals) -> None:
    """A file that can't be executed lies where each of them is, as if none was installed."""
    refused.cli("pull", "-q", str(image))
    name = refused.cli("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.strip()
    file = refused.cli.root / "version"
    prepare = f'for path in $(which -a {program}); do mount --bind {file} "$path"; done'
    arguments = ("run", "-q", "--rm", "--runtime=runc", name, "/x")
    line = in_namespace(refused, prepare, *arguments)
    assert_says(line, [program, "not found", "install"])


@pytest.mark.parametrize("runtime", ["crun-of-mine", "/nowhere/runc"])
def test_run_by_a_runtime_that_is_not_there(runtime: str, image: Layout, refused: Refusals) -> None:
    refused.cli("pull", "-q", str(image))
    name = refused.cli("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.strip()
    refused("run", "-q", "--rm", "--runtime", runtime, name, "/x", says=[runtime, "not found"])
