"""runc under conmon against the contract, and what else it does: streams, terminal, log."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from imagefs.runtime.attach import Streams, connect, relay
from imagefs.runtime.driver import Bundle
from imagefs.testing.runtime_contract import RuntimeContract, Stand
from runtime.bundles import BusyboxStand, busybox_stand


class TestConmonDriver(RuntimeContract):
    @contextmanager
    def stand(self, directory: Path) -> Iterator[Stand]:
        with busybox_stand(directory) as found:
            yield found


@pytest.fixture
def busybox(tmp_path: Path) -> Iterator[BusyboxStand]:
    with busybox_stand(tmp_path) as found:
        yield found


def run(
    stand: BusyboxStand,
    bundle: Bundle,
    given: bytes | None = None,
    before_start: Callable[[], None] = lambda: None,
) -> tuple[int | None, bytes, bytes]:
    """Create, attach, start, relay; exit status, standard output and standard error."""
    stand.driver.create(bundle)
    outputs: list[bytes] = [b"", b""]
    with closing(connect(bundle.directory)) as connection:
        before_start()
        stand.driver.start(bundle)
        source, feed = _pipe(given) if given is not None else (None, None)
        with _collected(outputs) as (out, err):
            wake, never = os.pipe()
            try:
                relay(connection, Streams(source, out, err), wake, lambda _: None)
            finally:
                os.close(wake)
                os.close(never)
        if source is not None and feed is not None:
            os.close(source)
            feed.join()
    return stand.driver.wait(bundle), outputs[0], outputs[1]


def _pipe(data: bytes) -> tuple[int, threading.Thread]:
    read, write = os.pipe()

    def feed() -> None:
        # What it does not read in the end is of no interest.
        with contextlib.suppress(BrokenPipeError), open(write, "wb", buffering=0) as file:
            file.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    return read, thread


@contextmanager
def _collected(outputs: list[bytes]) -> Iterator[list[int]]:
    """Write descriptors whose bytes are put into `outputs` at the end of the block."""
    pairs = [os.pipe() for _ in outputs]

    def collect(index: int) -> None:
        with open(pairs[index][0], "rb") as file:
            outputs[index] = file.read()

    threads = [threading.Thread(target=collect, args=(i,)) for i in range(len(outputs))]
    for thread in threads:
        thread.start()
    try:
        yield [write for _, write in pairs]
    finally:
        for _, write in pairs:
            os.close(write)
        for thread in threads:
            thread.join()


def test_output_and_error_come_apart(busybox: BusyboxStand) -> None:
    bundle = busybox.bundle("sh", "-c", "echo out; echo err >&2; exit 3")
    assert run(busybox, bundle) == (3, b"out\n", b"err\n")


def test_all_of_a_big_output_comes(busybox: BusyboxStand) -> None:
    bundle = busybox.bundle("sh", "-c", "yes 0123456789 | head -c 5000000")
    code, out, _ = run(busybox, bundle)
    assert (code, len(out), out[:22]) == (0, 5_000_000, b"0123456789\n0123456789\n")


def test_input_goes_there_and_back_with_its_end(busybox: BusyboxStand) -> None:
    data = os.urandom(1 << 20)
    code, out, _ = run(busybox, busybox.bundle("cat", stdin=True), data)
    assert code == 0
    assert out == data


def test_input_that_nobody_reads_does_not_block(busybox: BusyboxStand) -> None:
    bundle = busybox.bundle("sh", "-c", "exec <&-; echo done", stdin=True)
    assert run(busybox, bundle, b"x" * 100_000)[:2] == (0, b"done\n")


def test_without_input_it_is_empty(busybox: BusyboxStand) -> None:
    assert run(busybox, busybox.bundle("cat"))[:2] == (0, b"")


def test_a_terminal_has_the_size_it_was_given(busybox: BusyboxStand) -> None:
    # The size is passed on while the command starts, so it may see the old one at first.
    ask = "until set -- $(stty size) && [ $1 = 33 ]; do usleep 10000; done; echo $1 $2"
    bundle = busybox.bundle("sh", "-c", ask, terminal=True)

    def give_size() -> None:
        with open(bundle.directory / "ctl", "wb", buffering=0) as control:
            control.write(b"1 33 77\n")

    assert run(busybox, bundle, before_start=give_size) == (0, b"33 77\r\n", b"")


def test_the_log_has_what_was_said(busybox: BusyboxStand) -> None:
    bundle = busybox.bundle("sh", "-c", "echo out; echo err >&2")
    run(busybox, bundle)
    lines = [
        line.split(" ", 3)[1:] for line in (bundle.lasting / "ctr.log").read_text().splitlines()
    ]
    assert sorted(lines) == [["stderr", "F", "err"], ["stdout", "F", "out"]]


def test_nothing_is_left_of_a_deleted_container(busybox: BusyboxStand) -> None:
    bundle = busybox.exits(0)
    run(busybox, bundle)
    busybox.driver.delete(bundle)
    assert sorted(p.name for p in bundle.directory.iterdir()) == ["config.json", "conmon.log"]
    assert list((busybox.directory / "runc").iterdir()) == []
    assert list(Path("/sys/fs/cgroup").glob(f"*/*{bundle.container_id}*")) == []
