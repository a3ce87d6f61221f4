"""Which devices of the host a privileged container gets."""

from __future__ import annotations

from pathlib import Path

from imagefs.runtime.devices import host_devices


def test_the_hosts_devices_without_those_that_containers_have(tmp_path: Path) -> None:
    paths = [device["path"] for device in host_devices()]
    assert paths == sorted(paths)
    assert "/dev/null" not in paths
    assert not [path for path in paths if path.startswith("/dev/pts")]
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    assert host_devices(tmp_path) == []
