"""Ctrl-C in the middle, and worse: one line, 130, and nothing half-made."""

from __future__ import annotations

import os
import select
import signal

import pytest
from harness.hostile import BLOB, HostileRegistry, digest_of
from harness.refusals import Refusals, the_line

from imagefs.testing import leftovers
from imagefs.testing.fake_registry import Fault

ALWAYS = 1 << 30
_BLOB = f"GET .*/blobs/{digest_of(BLOB)}"
#: Where the registry stops to answer.
PULLS = {
    "ping": Fault("GET /v2/$", "stall", at=-1, times=ALWAYS),
    "manifest": Fault("GET .*/manifests/", "stall", at=-1, times=ALWAYS),
    "half a manifest": Fault("GET .*/manifests/", "stall", at=100, times=ALWAYS),
    "blob": Fault(_BLOB, "stall", at=-1, times=ALWAYS),
    "half a blob": Fault(_BLOB, "stall", at=len(BLOB) // 2, times=ALWAYS),
}
PUSHES = {
    "upload": Fault("POST .*/uploads/", "stall", at=-1, times=ALWAYS),
    "blob": Fault("(PUT|PATCH) .*/uploads/", "stall", at=-1, times=ALWAYS),
    "manifest": Fault("PUT .*/manifests/", "stall", at=-1, times=ALWAYS),
}


def interrupt(
    refused: Refusals, stalled: HostileRegistry, how: signal.Signals, *arguments: str
) -> tuple[int, str]:
    """Start it, and send it a signal when its registry stalls: its status and stderr."""
    process = refused.cli.start(*arguments)
    assert stalled.registry.stalled.wait(60)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert out == b""
    return process.returncode, err.decode()


def wait_for_end(refused: Refusals) -> None:
    """Return when nothing works for the store any more."""
    for process in leftovers.processes():
        if not process.belongs_to(refused.cli.root):
            continue
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        ended = poll.poll(30_000)
        os.close(handle)
        assert ended, f"{process.arguments!r} goes on"


@pytest.mark.parametrize(
    ("verb", "case"), [*(("mount", case) for case in PULLS), ("pull", "half a blob")]
)
def test_interrupt(case: str, verb: str, hostile: HostileRegistry, refused: Refusals) -> None:
    name = hostile.image()
    hostile.registry.faults.append(PULLS[case])
    directory = [str(refused.cli.mountpoint("here"))] if verb == "mount" else []
    before = refused.state()
    status, err = interrupt(refused, hostile, signal.SIGINT, verb, "-q", name, *directory)
    assert status == 130
    assert the_line(err) == "interrupted"
    refused.assert_as(before)


@pytest.mark.parametrize("case", PUSHES)
def test_interrupted_push(case: str, hostile: HostileRegistry, refused: Refusals) -> None:
    name = hostile.image()
    refused.cli("pull", "-q", name)
    before = refused.state()
    with HostileRegistry() as other:
        other.registry.faults.append(PUSHES[case])
        where = f"docker://{other.host}/new:1"
        status, err = interrupt(refused, other, signal.SIGINT, "push", "-q", name, where)
        assert status == 130
        assert the_line(err) == "interrupted"
        assert other.registry.manifests == {}
    refused.assert_as(before)


def test_interrupted_lazy_read(hostile: HostileRegistry, refused: Refusals) -> None:
    """`cp` from an image whose content is not here."""
    name = hostile.image()
    refused.cli("cp", "-q", f"{name}:/hello", refused.cli.directory)
    refused.cli("system", "gc", "--content")
    hostile.registry.faults.append(PULLS["blob"])
    before = refused.state()
    target = refused.cli.directory / "big"
    status, err = interrupt(
        refused, hostile, signal.SIGINT, "cp", "-q", f"{name}:/big", str(target)
    )
    assert status == 130
    assert the_line(err) == "interrupted"
    assert not target.exists()
    refused.assert_as(before)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: str(how.name))
@pytest.mark.parametrize("verb", ["mount", "pull"])
def test_killed(
    verb: str, how: signal.Signals, hostile: HostileRegistry, refused: Refusals
) -> None:
    """What a killed command left nobody sees, and gc takes."""
    name = hostile.image()
    hostile.registry.faults.append(PULLS["half a blob"])
    directory = [str(refused.cli.mountpoint("here"))] if verb == "mount" else []
    before = refused.state()
    status, _ = interrupt(refused, hostile, how, verb, "-q", name, *directory)
    assert status == -how
    wait_for_end(refused)
    assert refused.cli("images", "-qa").stdout == ""
    assert refused.cli("mounts", "--all", "--format", "{{.id}}").stdout == ""
    refused.cli("system", "gc")
    refused.assert_as(before)
