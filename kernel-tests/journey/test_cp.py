"""`imagefs cp`: from images without a mount, into and out of mounts, beside podman's own cp."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.command import COMMAND, Cli
from harness.proxy import CountingProxy
from harness.registry import Registry
from harness.snapshot import Snapshot, differences, snapshot

from imagefs.testing.oci_layout import Layout


class Podman:
    """podman with a store of its own, and one container `c` that never ran."""

    def __init__(self, directory: Path) -> None:
        self._command = ["podman", "--root", str(directory / "root")]
        self._command += ["--runroot", str(directory / "run"), "--storage-driver", "vfs"]

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._command, *arguments], capture_output=True, timeout=120, check=False
        )


@pytest.fixture(scope="module")
def podman(
    registry: Registry, edge_image: Layout, tmp_path_factory: pytest.TempPathFactory
) -> Podman:
    made = Podman(tmp_path_factory.mktemp("podman"))
    name = registry.push(edge_image, "cp:1")
    assert made("pull", "-q", "--tls-verify=false", name).returncode == 0
    assert made("create", "--name", "c", name, "sh").returncode == 0
    return made


@pytest.fixture
def name(registry: Registry, edge_image: Layout) -> str:
    return registry.push(edge_image, "cp:1")


@pytest.fixture(scope="module")
def unmounted_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store for tests that mount nothing."""
    cli = Cli(tmp_path_factory.mktemp("cp"))
    try:
        yield cli
    finally:
        cli.clean()


@pytest.fixture
def mounted(name: str, run_cli: Cli) -> tuple[str, Path]:
    """The id and the directory of a mount."""
    place = run_cli.mountpoint("edge")
    return run_cli("mount", "--quiet", name, place).stdout.strip(), place


def prepare(place: Path) -> None:
    """What is there before."""
    for directory in ("dir", "clash/tree"):
        (place / directory).mkdir(parents=True)
    (place / "clash/retyped").write_text("in the way\n")
    (place / "file").write_text("old\n")
    (place / "link").symlink_to("dir")
    for path in place.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)


def comparable(tree: Snapshot) -> Snapshot:
    """Without what podman makes another: directories' attributes, parts of seconds, before 1970."""
    kept = {}
    for path, row in tree.items():
        if stat.S_ISDIR(row.mode):
            kept[path] = row._replace(mode=stat.S_IFDIR, mtime_ns=0)
        else:
            kept[path] = row._replace(mtime_ns=max(0, row.mtime_ns) // 1_000_000_000)
    return kept


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("/odd/first", "."),
        ("/odd/first", "file"),
        ("/odd/first", "new"),
        ("/odd/setuid", "dir/"),
        ("/bin/sh", "."),
        ("/bin/sh", "new"),
        ("/odd", "."),
        ("/odd/", "dir"),
        ("/odd", "new"),
        ("/odd/.", "dir"),
        ("/odd/opaque/.", "new"),
        ("/odd/retyped", "link"),
        ("/odd/first", "link"),
        ("/odd/nothing", "."),
        ("/odd/dangling", "."),
        ("/odd", "file"),
        ("/odd/first", "no/such"),
        ("/odd/first", "no/"),
        ("/odd/retyped", "clash"),
        ("/odd/tree", "clash"),
        ("/odd/retyped", "clash --overwrite"),
        ("/odd/tree", "clash --overwrite"),
    ],
)
def test_copies_to_the_host_as_podman_does(
    source: str, destination: str, name: str, podman: Podman, unmounted_cli: Cli, tmp_path: Path
) -> None:
    destination, *options = destination.split()
    for who in ("podman", "imagefs"):
        prepare(tmp_path / who)
    done = podman("cp", *options, f"c:{source}", tmp_path / "podman" / destination)
    ours = unmounted_cli(
        "cp", *options, f"{name}:{source}", tmp_path / "imagefs" / destination, status=None
    )
    assert (ours.returncode == 0) == (done.returncode == 0), (ours.stderr, done.stderr)
    assert ours.returncode in (0, 125)
    if ours.returncode:
        assert ours.stderr.count("Error: ") == 1
        assert ours.stderr.splitlines()[-1].startswith("Error: ")
    trees = [comparable(snapshot(tmp_path / who)) for who in ("imagefs", "podman")]
    if destination != "clash" or options:  # podman stops in the middle of a clash
        assert differences(*trees) == []


def test_only_the_chunks_of_one_file_come(
    counting_proxy: CountingProxy, name: str, run_cli: Cli, tmp_path: Path
) -> None:
    image = f"{counting_proxy.host}/cp:1"
    run_cli("pull", "--quiet", image)
    run_cli("system", "gc", "--content")
    counting_proxy.reset()
    run_cli("cp", f"{image}:/odd/second", tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == b"a file of its own now\n"
    assert 0 < counting_proxy.bytes_fetched() < 10_000  # of a megabyte
    assert str(run_cli.directory) not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize("form", ["docker://{}", "{}", "layout"])
def test_every_form_of_name_has_a_path(
    form: str, name: str, edge_image: Layout, run_cli: Cli, tmp_path: Path
) -> None:
    image = str(edge_image) if form == "layout" else form.format(name)
    run_cli("cp", "--quiet", f"{image}:/etc/passwd", tmp_path / "passwd")
    assert (tmp_path / "passwd").read_bytes().startswith(b"root:x:0:0:")


def test_archives_stream_out_and_in(name: str, mounted: tuple[str, Path], run_cli: Cli) -> None:
    mount, place = mounted
    archive = subprocess.run(
        [COMMAND, "cp", f"{name}:/odd", "-"],
        env=run_cli.environment, check=True, capture_output=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {"odd/first", "odd/null", "odd/fifo"} <= set(tar.getnames())
        assert tar.getmember("odd/big-owner").uid == 3_000_000
    (place / "again").mkdir()
    run_cli("cp", "--archive=false", "-", f"{mount}:/again", stdin=archive)
    assert differences(snapshot(place / "again/odd"), snapshot(place / "odd")) == []
    for damaged in (b"no tar", archive[:700], b""):
        failed = run_cli("cp", "-", f"{mount}:/again", stdin=damaged, status=None)
        assert failed.returncode in (0, 125)
        assert "Traceback" not in failed.stderr
    run_cli("cp", "-", f"{mount}:/etc/passwd", stdin=archive, status=125)


def test_what_is_copied_in_belongs_to_the_image_s_user(
    mounted: tuple[str, Path], run_cli: Cli, tmp_path: Path
) -> None:
    mount, place = mounted
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below/file").write_text("new\n")
    os.link(source / "below/file", source / "linked")
    os.setxattr(source / "below/file", "user.note", b"kept")
    os.mknod(source / "device", 0o020600, os.makedev(1, 3))
    os.chown(source / "below/file", 7, 8)
    os.utime(source / "below", ns=(1, 1_000_000_001))
    run_cli("cp", source, f"{mount}:/root")
    owned = {p: row._replace(uid=1000, gid=1000) for p, row in snapshot(source).items()}
    assert differences(snapshot(place / "root/source"), owned) == []
    run_cli("cp", "--archive=false", source, f"{mount}:/root/kept")
    assert differences(snapshot(place / "root/kept"), snapshot(source)) == []
    assert run_cli("diff", mount).stdout.count("A /root/kept/below/file\n") == 1


def test_links_in_a_mount_lead_nowhere_outside(
    mounted: tuple[str, Path], run_cli: Cli, tmp_path: Path
) -> None:
    mount, place = mounted
    (place / "out").symlink_to(f"/../../..{tmp_path}")
    (place / "passwd").symlink_to("/etc/passwd")
    run_cli("cp", f"{mount}:/passwd", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == (place / "etc/passwd").read_bytes()
    failed = run_cli("cp", tmp_path / "copied", f"{mount}:/out/new", status=125)
    assert failed.stderr.count("\n") == 1
    run_cli("cp", tmp_path / "copied", f"{mount}:/passwd")
    assert not (tmp_path / "new").exists()
    assert (place / "passwd").is_symlink()
    assert Path("/etc/passwd").read_bytes() != (tmp_path / "copied").read_bytes()


def test_between_image_and_mount_and_within_a_mount(
    name: str, mounted: tuple[str, Path], run_cli: Cli
) -> None:
    mount, place = mounted
    run_cli("cp", "--archive=false", f"{name}:/odd", f"{mount}:/copy")
    assert differences(snapshot(place / "copy"), snapshot(place / "odd")) == []
    run_cli("cp", f"{mount}:/odd/first", f"{mount}:/root/")
    assert (place / "root/first").read_bytes() == (place / "odd/first").read_bytes()
    failed = run_cli("cp", f"{mount}:/odd", f"{mount}:/odd/opaque", status=125)
    assert "into itself" in failed.stderr


def test_kept_changes_can_be_copied_without_a_mount(
    mounted: tuple[str, Path], run_cli: Cli, tmp_path: Path
) -> None:
    mount, place = mounted
    (place / "new").write_text("kept\n")
    run_cli("umount", place)
    run_cli("cp", f"{mount}:/new", tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "kept\n"
    [row] = json.loads(run_cli("mounts", "--all", "--json").stdout)
    assert (row["state"], row["mountpoint"]) == ("detached", str(place))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("one", "two"), "one of them must be NAME:PATH"),
        (("file", "IMAGE:/etc/new"), "mount it, copy into the mount, commit"),
        (("nobody:etc", "."), "no container or mount is called nobody"),
        (("IMAGE:/no/such", "."), "/no/such: not in"),
        (("MOUNT:/no/such", "."), "No such file"),
        (("missing", "MOUNT:/"), "missing: No such file"),
        (("-", "file"), "one of them must be NAME:PATH"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, str], says: str, name: str, mounted: tuple[str, Path], run_cli: Cli
) -> None:
    given = [a.replace("IMAGE", name).replace("MOUNT", mounted[0]) for a in arguments]
    failed = run_cli("cp", *given, status=125)
    assert failed.stderr.count("\n") == 1
    assert says in failed.stderr
