"""Whatever fails, whoever dies at whatever change: the store is whole, and gc leaves no trace."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagefs.store import Store
from imagefs.system.atomic import names_in
from imagefs.testing.disks import FailingDisk
from imagefs.testing.stores import add_image, add_layer, add_mount, small_store, small_tar

BLOB = small_tar({"f": os.urandom(5000), "g": b"g" * 100})
MORE = small_tar({"h": b"h" * 5000})
CHILD = """
import sys
from pathlib import Path
from imagefs.testing.disks import FailingDisk
from test_crashes import journey
from imagefs.testing.stores import small_store
with small_store(Path(sys.argv[1]), disk=FailingDisk(int(sys.argv[2]), kill=True)) as store:
    journey(store)
"""


def journey(store: Store) -> None:
    """Everything that writes."""
    with store.lease("pull", "x"):
        image = add_image(store, [add_layer(store, BLOB)], "x")
    store.tree(image.layers)
    add_mount(store, image)
    with store.layers.open(image.layers[0]) as layer:
        chunk = layer.read(layer.index.chunks.data[0], layer.index.chunks.length[0])
        layer.drop_content()
        layer.put(0, chunk)
        layer.sync()
    add_image(store, [add_layer(store, MORE)], "y")
    store.rmi("y")
    store.gc(content=True)


def settled(base: Path) -> list[str]:
    """What is wrong in the store once gc ran; and it must be usable."""
    with small_store(base) as store:
        found = [str(problem) for problem in store.fsck() if problem.kind != "stray"]
        store.gc()
        found += map(str, store.fsck())
        assert names_in(store.root / "tmp") == []
        assert names_in(store.root / "locks/leases") == []
        journey(store)
        found += map(str, store.fsck())
        return found


def out_of_space(base: Path, disk: FailingDisk) -> bool:
    try:
        with small_store(base, disk=disk) as store:
            journey(store)
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def test_each_change_may_fail_for_want_of_space(tmp_path: Path) -> None:
    failed = 0
    while True:
        base = tmp_path / str(failed)
        disk = FailingDisk(failed)
        if not out_of_space(base, disk):
            assert not disk.reached, "a failed change was not noticed"
            break
        assert settled(base) == []
        failed += 1
    assert failed > 40, "the disk seam is no longer used"


def run_child(base: Path, at: int) -> int:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    command = [sys.executable, "-c", CHILD, str(base), str(at)]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


@pytest.mark.parametrize("at", range(0, 72, 3))
def test_a_process_may_be_killed_at_each_change(tmp_path: Path, at: int) -> None:
    base = tmp_path / "s"
    code = run_child(base, at)
    assert code == -signal.SIGKILL, "more changes than the store makes: lower the range"
    assert settled(base) == []


def test_the_child_that_is_killed_would_have_finished(tmp_path: Path) -> None:
    assert run_child(tmp_path, 10**6) == 0
    with small_store(tmp_path) as store:
        assert [image.names for image in store.images.list()] == [("localhost/x:latest",)]
