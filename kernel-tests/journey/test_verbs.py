"""The verbs around the journey: mounts kept, held and dropped; names; the care of the store."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from harness.command import Cli
from harness.registry import Registry
from harness.snapshot import differences, snapshot

from imagefs.testing.oci_layout import Layout


def listed(cli: Cli, *arguments: str) -> Any:
    """What a listing says in JSON."""
    return json.loads(cli(*arguments, "--json").stdout)


def test_mount_is_held_kept_resumed_and_dropped(edge_image: Layout, run_cli: Cli) -> None:
    first, second = run_cli.mountpoint("first"), run_cli.mountpoint("second")
    mount = run_cli("mount", "--quiet", str(edge_image), first).stdout.strip()
    [row] = listed(run_cli, "mounts")
    assert (row["id"], row["mountpoint"], row["state"]) == (mount, str(first), "mounted")
    assert row["image"].endswith(":latest")
    assert row["digest"].startswith("sha256:")
    assert Path(f"/proc/{row['keeper_pid']}").exists()
    assert Path(f"/proc/{row['server_pid']}").exists()

    (first / "new").write_text("kept\n")
    before = snapshot(first)
    with subprocess.Popen(["sleep", "600"], cwd=first) as holder:
        busy = run_cli("umount", first, status=125)
        assert str(holder.pid) in busy.stderr
        assert (first / "new").exists()
        run_cli("umount", "--force", first)
        assert not (first / "new").exists()
        holder.kill()
    # Detached at once; it ends when its last holder has let go.
    again = run_cli("mount", "--resume", mount, second, status=None)
    while again.returncode and "still in use" in again.stderr:
        again = run_cli("mount", "--resume", mount, second, status=None)
    assert again.returncode == 0, again.stderr
    assert differences(snapshot(second), before) == []

    run_cli("mounts", "rm", mount, status=125)
    run_cli("umount", second)
    assert listed(run_cli, "mounts") == []
    assert [row["state"] for row in listed(run_cli, "mounts", "--all")] == ["detached"]
    run_cli("mounts", "rm", mount)
    assert listed(run_cli, "mounts", "--all") == []

    run_cli("mount", "--quiet", str(edge_image), first)
    run_cli("umount", "--discard", first)
    assert listed(run_cli, "mounts", "--all") == []
    assert list((run_cli.root / "mounts").iterdir()) == []


def test_names_pins_and_what_is_freed(
    registry: Registry, edge_image: Layout, busybox_image: Layout, run_cli: Cli
) -> None:
    edge = registry.push(edge_image, "verbs-edge:1")
    busybox = registry.push(busybox_image, "verbs-busybox:1")
    run_cli("pull", "--quiet", edge)
    run_cli("pull", "--quiet", busybox)
    run_cli("tag", edge, "localhost/other:2")
    names = {name for image in listed(run_cli, "images") for name in image["Names"]}
    assert names == {edge, busybox, "localhost/other:2"}
    assert run_cli("inspect", edge).stdout == run_cli("inspect", "localhost/other:2").stdout

    place = run_cli.mountpoint("edge")
    mount = run_cli("mount", "--quiet", edge, place).stdout.strip()
    run_cli("rmi", edge)
    pinned = run_cli("rmi", "localhost/other:2", status=2)
    assert mount in pinned.stderr
    run_cli("rmi", busybox)
    run_cli("system", "gc")
    run_cli("system", "fsck")
    assert (place / "bin/busybox").read_bytes().startswith(b"\x7fELF")  # a layer of both
    used = {row["Type"]: row for row in listed(run_cli, "system", "df")}
    assert used["Images"]["Total"] == used["Images"]["Active"] == 1

    run_cli("umount", "--discard", place)
    run_cli("rmi", "--all")
    run_cli("system", "gc")
    assert listed(run_cli, "images") == []
    assert list((run_cli.root / "layers").iterdir()) == []
    assert [path for path in (run_cli.root / "blobs").rglob("*") if path.is_file()] == []
    run_cli("system", "fsck")


def test_fsck_names_a_spoilt_chunk(edge_image: Layout, run_cli: Cli) -> None:
    run_cli("pull", "--quiet", str(edge_image))
    run_cli("system", "fsck")
    data = max((run_cli.root / "layers").glob("*/data"), key=lambda path: path.stat().st_size)
    with data.open("r+b") as file:
        file.seek(data.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    found = run_cli("system", "fsck", status=1)
    assert data.parent.name in found.stdout
