"""The POSIX list on a plain directory, overlayfs and imagefs alike; and where imagefs differs."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.mounts import Mounter
from harness.posix import CASES, Case, fallocate

from imagefs.system.mounts import umount


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    top = tmp_path_factory.mktemp("overlay")
    for name in ("lower", "upper", "work", "merged"):
        (top / name).mkdir()
    options = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(top / "merged")], check=True
    )
    yield top / "merged"
    umount(top / "merged", detach=True)


@pytest.fixture(scope="module")
def imagefs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    mounter = Mounter(tmp_path_factory.mktemp("imagefs"))
    try:
        yield mounter.mount() / "work"
    finally:
        mounter.close()


@pytest.fixture(params=["plain", "overlay", "imagefs"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    if request.param == "plain":
        top = tmp_path
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o755)
    else:
        top = Path(request.getfixturevalue(request.param))
        for parent in top.parents[:3]:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o055)
    here: Path = top / request.node.name.replace("/", "_").replace("[", "-").rstrip("]")
    here.mkdir(0o755)
    here.chmod(0o777)
    return here


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_posix(case: Case, directory: Path) -> None:
    case(directory)


def test_fallocate_is_refused_so_that_programs_fall_back(imagefs: Path) -> None:
    fd = os.open(imagefs / "fallocated", os.O_CREAT | os.O_RDWR)
    try:
        assert fallocate(fd, 4096) == errno.EOPNOTSUPP
        os.posix_fallocate(fd, 0, 10_000)  # glibc writes instead
        assert os.fstat(fd).st_size == 10_000
    finally:
        os.close(fd)
