"""kill -9 of server and keeper, again and again, under programs that know what they must see.

IMAGEFS_KILLS sets how often (20; 200 before a release).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from harness import workers
from harness.mounts import Mounter

from imagefs.mount.api import MountOptions, find_mount, umount
from imagefs.system.processes import alive, can_resend, kernel_version

KILLS = int(os.environ.get("IMAGEFS_KILLS", "20"))
#: At most. A kill falls between an effect and its reply about once in a hundred times; fewer would
#: now and then see none.
KILLS_WITHOUT_JOURNAL = 1500
_PAUSES = (0.001, 0.003, 0.01, 0.05, 0.3)
_END_WITHIN = 60

pytestmark = [
    pytest.mark.skipif(
        not can_resend(),
        reason=f"FUSE_NOTIFY_RESEND: needs Linux 6.9, this is {kernel_version()}",
    ),
    pytest.mark.timeout(1800),
]


class Torture:
    """Workers on one mount, and kills of what serves it."""

    def __init__(self, mounter: Mounter, options: MountOptions, stack: ExitStack) -> None:
        self.mounter = mounter
        self.place = mounter.mount(options=options)
        self.stop = mounter.directory / "stop"
        self.workers: dict[str, subprocess.Popen[str]] = {}
        self._stack = stack

    def start(self, names: list[str]) -> None:
        for name in names:
            self.workers[name] = self._stack.enter_context(
                subprocess.Popen(
                    [sys.executable, workers.__file__, name, self.place / "work", self.stop],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            self._stack.callback(self.workers[name].kill)

    def kill(self, victim: str) -> None:
        """Kill server or keeper, whether the other has come back from its last death or not."""
        end = time.monotonic() + _END_WITHIN
        while time.monotonic() < end:
            running = find_mount(self.mounter.store, self.place).running
            if running and alive(getattr(running, victim)):
                os.kill(getattr(running, victim), signal.SIGKILL)
                return
            time.sleep(0.002)
        raise AssertionError(f"not served for {_END_WITHIN} s:\n{self.log()}")

    def log(self) -> str:
        record = find_mount(self.mounter.store, self.place).record
        return (self.mounter.store.mounts.run_directory(record.id) / "log").read_text()[-4000:]

    def failed_early(self) -> bool:
        return any(worker.poll() is not None for worker in self.workers.values())

    def finish(self) -> dict[str, str]:
        """Stop the workers; what failed, by name."""
        self.stop.touch()
        failed = {}
        for name, worker in self.workers.items():
            text, _ = worker.communicate(timeout=_END_WITHIN)
            if worker.returncode:
                failed[name] = text
        return failed


def test_no_call_fails_and_nothing_happens_twice(mounter: Mounter) -> None:
    with ExitStack() as stack:
        torture = Torture(mounter, MountOptions(), stack)
        torture.start(list(workers.WORKERS))
        assert len(torture.workers) == 12
        for i in range(KILLS):
            time.sleep(0.35 + random.choice(_PAUSES))  # how long servers live is the experiment
            torture.kill("keeper_pid" if i % 2 else "server_pid")
            if torture.failed_early():
                break
        assert torture.finish() == {}, torture.log()
    found = find_mount(mounter.store, torture.place)
    assert found.running is not None
    assert found.running.restarts >= KILLS // 2 - 1
    umount(mounter.store, torture.place)


def test_without_the_journal_something_goes_wrong(mounter: Mounter) -> None:
    with ExitStack() as stack:
        torture = Torture(mounter, MountOptions(journal=False), stack)
        torture.start(["names", "dirs", "xattr", "exchange"])
        for _ in range(KILLS_WITHOUT_JOURNAL):
            os.statvfs(torture.place)  # is never cached: a server that only starts proves nothing
            time.sleep(random.uniform(0.02, 0.15))
            torture.kill("server_pid")
            if torture.failed_early():
                break
        assert torture.finish() != {}
