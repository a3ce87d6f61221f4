"""Mounting, lazy reads, copy-up, unmounting, keeping and resuming, and bad input."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness.mounts import BIG, MANY, Mounter
from harness.registry import Registry

from imagefs.mount.api import (
    BadMountpoint,
    MountBusy,
    MountFailed,
    MountOptions,
    NotMounted,
    find_mount,
    list_mounts,
    mount,
    resume,
    start_early,
    umount,
)
from imagefs.registry.access import Credentials
from imagefs.system.mounts import mount_at
from imagefs.system.processes import alive, wait_gone
from imagefs.transport import Access


def test_image_is_readable_when_mount_returns(mounter: Mounter) -> None:
    place = mounter.mount()
    assert (place / "etc/hello").read_bytes() == b"hello\n"
    assert (place / "etc/link").read_bytes() == b"hello\n"
    assert hashlib.sha256((place / "big").read_bytes()).digest() == hashlib.sha256(BIG).digest()
    assert len(list((place / "many").iterdir())) == MANY


def test_reads_fetch_what_the_store_lost(mounter: Mounter) -> None:
    mounter.store.gc(content=True)
    place = mounter.mount()
    assert (place / "big").read_bytes() == BIG
    assert (place / "many/f00007").read_bytes() == b"7\n"


def test_copy_up_keeps_inode_data_and_links(mounter: Mounter) -> None:
    place = mounter.mount()
    before = (place / "big").stat()
    with (place / "big").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")
    data = BIG[: 1 << 20] + b"changed" + BIG[(1 << 20) + 7 :]
    assert (place / "big").read_bytes() == data
    assert (place / "big").stat().st_ino == before.st_ino
    with (place / "etc/second").open("ab") as file:
        file.write(b"more\n")
    assert (place / "etc/hello").read_bytes() == b"hello\nmore\n"
    assert (place / "etc/hello").stat().st_nlink == 2


def test_truncating_open_copies_nothing(mounter: Mounter) -> None:
    mounter.store.gc(content=True)
    place = mounter.mount()
    (place / "big").write_bytes(b"small")
    assert (place / "big").read_bytes() == b"small"
    with mounter.store.layers.open(mounter.image.layers[0]) as layer:
        assert layer.progress()[0] == 0


def test_reader_sees_what_is_written_after_it_opened(mounter: Mounter) -> None:
    place = mounter.mount()
    with (place / "etc/hello").open("rb", buffering=0) as file:
        assert file.read() == b"hello\n"
        with (place / "etc/hello").open("ab") as other:
            other.write(b"again\n")
        assert file.read() == b"again\n"


def test_read_only_mount_refuses_and_leaves_no_record(mounter: Mounter) -> None:
    place = mounter.mount(options=MountOptions(read_only=True))
    with pytest.raises(OSError, match="Read-only"):
        (place / "new").touch()
    umount(mounter.store, place)
    assert list_mounts(mounter.store) == []


def test_upper_is_kept_listed_and_resumed_elsewhere(mounter: Mounter) -> None:
    place = mounter.mount()
    (place / "etc/new").write_text("kept")
    (place / "etc/hello").unlink()
    record = umount(mounter.store, str(place))
    assert not (place / "etc").exists()
    assert find_mount(mounter.store, record.id).state == "detached"
    other = mounter.directory / "other"
    other.mkdir()
    resume(mounter.store, record.id, other)
    assert (other / "etc/new").read_text() == "kept"
    assert not (other / "etc/hello").exists()
    assert (other / "etc/second").read_bytes() == b"hello\n"
    assert find_mount(mounter.store, other).state == "mounted"


def test_discard_drops_the_upper(mounter: Mounter) -> None:
    place = mounter.mount()
    (place / "x").touch()
    record = umount(mounter.store, place, discard=True)
    assert list_mounts(mounter.store) == []
    assert record.upper is not None
    assert not Path(record.upper).exists()


def test_busy_mount_names_its_holder_and_force_detaches(mounter: Mounter) -> None:
    place = mounter.mount()
    command = ["sleep", "60"]
    holder = subprocess.Popen(command, cwd=place)
    try:
        with pytest.raises(MountBusy, match=rf"sleep \({holder.pid}, cwd\)"):
            umount(mounter.store, place)
        found = find_mount(mounter.store, place)
        assert found.state == "mounted"
        umount(mounter.store, place, force=True)
        assert mount_at(place) is None
        assert Path(f"/proc/{holder.pid}/cwd/etc/hello").read_bytes() == b"hello\n"
    finally:
        holder.kill()
        holder.wait()
    assert found.running is not None
    assert wait_gone(found.running.keeper_pid, 10)


def test_plain_umount_ends_keeper_and_server(mounter: Mounter) -> None:
    place = mounter.mount()
    found = find_mount(mounter.store, place)
    assert found.running is not None
    subprocess.run(["umount", str(place)], check=True)
    assert wait_gone(found.running.keeper_pid, 10)
    assert not alive(found.running.server_pid)
    assert find_mount(mounter.store, place).state == "detached"


def test_bad_mount_points_are_refused(mounter: Mounter) -> None:
    there = mounter.mount()
    full = mounter.directory / "full"
    full.mkdir()
    (full / "file").touch()
    cases = {
        mounter.directory / "missing": "No such file",
        full / "file": "not a directory",
        full: "not empty",
        there: "already a mount",
    }
    for path, why in cases.items():
        with pytest.raises(BadMountpoint, match=why):
            mount(mounter.store, mounter.image, path)
    assert len(list_mounts(mounter.store)) == 1
    assert len(list((mounter.directory / "run/mounts").iterdir())) == 1


def test_failing_server_is_reported_and_leaves_nothing(mounter: Mounter) -> None:
    place = mounter.directory / "mnt"
    place.mkdir()
    tree = mounter.store.tree(mounter.image.layers)
    del tree
    for path in (mounter.directory / "store/trees").iterdir():
        path.write_bytes(b"not a tree")
    with pytest.raises(MountFailed, match="tree"):
        mount(mounter.store, mounter.image, place)
    assert list_mounts(mounter.store) == []
    assert mount_at(place) is None
    assert list((mounter.directory / "run/mounts").iterdir()) == []


def test_early_start_is_used_or_leaves_nothing(mounter: Mounter) -> None:
    place = mounter.directory / "mnt"
    place.mkdir()
    with start_early(mounter.store) as start:
        pass
    assert not start.run.exists()
    with start_early(mounter.store) as start:
        record = mount(mounter.store, mounter.image, place, start=start)
    assert record.id == start.run.name
    assert (place / "etc/hello").exists()


def test_server_and_keeper_are_replaced_when_killed(mounter: Mounter) -> None:
    place = mounter.mount()
    for victim in ("server_pid", "keeper_pid") * 2:
        running = find_mount(mounter.store, place).running
        assert running is not None
        os.kill(getattr(running, victim), signal.SIGKILL)
        assert wait_gone(getattr(running, victim), 10)
        assert (place / "etc/hello").read_bytes() == b"hello\n"
        (place / victim).touch()
        _until_replaced(mounter, place, getattr(running, victim))


def _until_replaced(mounter: Mounter, place: Path, old: int) -> None:
    code = (
        "import json, sys, time\n"
        "while int(sys.argv[2]) in json.load(open(sys.argv[1])).values(): time.sleep(0.01)"
    )
    run = mounter.store.mounts.run_directory(find_mount(mounter.store, place).record.id)
    subprocess.run(
        [sys.executable, "-c", code, str(run / "state.json"), str(old)], check=True, timeout=20
    )


def test_writes_through_a_mapping_survive_umount(mounter: Mounter) -> None:
    place = mounter.mount()
    import mmap

    with (place / "big").open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[100:105] = b"HELLO"
    record = umount(mounter.store, place)
    resume(mounter.store, record.id, place)
    assert (place / "big").read_bytes()[100:105] == b"HELLO"


def test_credentials_serve_every_server_and_are_kept_nowhere(
    mounter: Mounter, auth_registry: Registry
) -> None:
    name = auth_registry.push(mounter.layout, "secret/test:1")
    access = Access(creds=Credentials.parse(auth_registry.credentials or ""))
    image = mounter.pull(f"docker://{name}", access, name)
    mounter.store.gc(content=True)
    place = mounter.directory / "mnt"
    place.mkdir()
    record = mount(mounter.store, image, place, name=name, access=access)
    running = find_mount(mounter.store, place).running
    assert running is not None
    os.kill(running.server_pid, signal.SIGKILL)
    assert (place / "big").read_bytes() == BIG
    assert access.creds is not None
    password = access.creds.password
    for directory in (mounter.directory / "store", mounter.directory / "run"):
        found = subprocess.run(
            ["grep", "-rlF", password, directory], capture_output=True, check=False
        )
        assert found.stdout == b""
    assert record.access["creds"] is True


def test_what_is_kept_is_dropped_by_its_id_alone(mounter: Mounter) -> None:
    place = mounter.mount()
    (place / "new").write_bytes(b"precious")
    record = umount(mounter.store, place)
    for target in (place, record.name):
        with pytest.raises(NotMounted, match=record.id):
            umount(mounter.store, target, discard=True)
    assert mounter.store.mounts.get(record.id) == record
    assert record.upper is not None
    assert (Path(record.upper) / "new").read_bytes() == b"precious"
    umount(mounter.store, record.id, discard=True)
    assert mounter.store.mounts.get(record.id) is None
