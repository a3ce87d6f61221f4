"""Reading mount tables and process tables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from imagefs.system import mounts, processes

TABLE = rb"""22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
41 27 0:39 / /mnt/with\040space\134 rw,relatime - fuse.imagefs imagefs:00ff rw,user_id=0
42 27 0:40 /sub /mnt/x ro master:1 propagate_from:2 - ext4 /dev/vda rw
"""


def test_fields_are_found_whatever_the_optional_ones() -> None:
    first, second, third = mounts.parse_mountinfo(TABLE)
    assert (first.mount_id, first.parent_id, first.device) == (22, 27, "0:20")
    assert second.mountpoint == b"/mnt/with space\\"
    assert (second.fstype, second.source) == ("fuse.imagefs", b"imagefs:00ff")
    assert (third.root, third.source) == (b"/sub", b"/dev/vda")


def test_the_root_is_a_mount_and_a_new_directory_is_not(tmp_path: Path) -> None:
    assert mounts.mount_at(Path("/")) is not None
    assert mounts.mount_at(tmp_path) is None


def test_resolve_follows_links_above_the_last_part(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert mounts.resolve(tmp_path / "link/x") == Path(os.path.realpath(tmp_path)) / "real/x"
    assert mounts.resolve(tmp_path / "link").name == "link"


def test_processes_are_told_apart_by_their_start() -> None:
    started = processes.start_time(os.getpid())
    assert processes.alive(os.getpid(), started)
    assert not processes.alive(os.getpid(), (started or 0) + 1)


def test_ended_process_is_gone_and_a_zombie_not_alive() -> None:
    with subprocess.Popen(["true"]) as child:
        assert processes.wait_gone(child.pid, 10)
        assert not processes.alive(child.pid)
    assert processes.wait_gone(child.pid, 10)
