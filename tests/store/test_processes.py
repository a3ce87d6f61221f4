"""Several processes on one store at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from imagefs.store import LayerKey, Store
from imagefs.testing.stores import add_image, add_layer, small_store, small_tar

BLOB = small_tar({str(number): os.urandom(3000) for number in range(40)})
START = """
import os, sys
from pathlib import Path
from imagefs.testing.stores import *
base, mode, blob = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes()
store = small_store(base)
print("ready", flush=True)
sys.stdin.readline()
"""
ADD = """
for number in range(5):
    with store.lease("pull", "x"):
        key = add_layer(store, blob)
        add_image(store, [key], f"name{mode}", note=f"{mode} {number}")
    store.tree([key])
    if mode == "1":
        store.gc()
"""
PUT = """
key = store.layers.list()[0]
with store.layers.open(key) as layer:
    chunks = layer.index.chunks
    for chunk in range(len(chunks)):
        claim = layer.claim([chunk], wait=True)
        with claim:
            if not layer.present(chunk):
                layer.put(chunk, blob[chunks.stream[chunk]:][:chunks.length[chunk]])
                print("put", chunk, flush=True)
"""
HOLD = """
key = store.layers.find(Digest.of(blob))
lease = store.lease("pull", "x")
lease.__enter__()
store.layers.find(key.blob)
layer = store.layers.open(key)
claim = layer.claim([0, 1])
print("held", flush=True)
sys.stdin.readline()
"""


class Child:
    """A process that does `body` once told to."""

    def __init__(self, base: Path, mode: str, body: str) -> None:
        blob = base / "blob"
        blob.write_bytes(BLOB)
        self.process = subprocess.Popen(
            [sys.executable, "-c", START + body, str(base), mode, str(blob)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> list[str]:
        out, _ = self.process.communicate(timeout=60)
        return [*out.splitlines(), f"exit {self.process.returncode}"]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=60)


def run_together(base: Path, body: str) -> list[list[str]]:
    children = [Child(base, str(number), body) for number in range(3)]
    for child in children:
        child.go()
    results = [child.finish() for child in children]
    assert [lines.pop() for lines in results] == ["exit 0"] * 3
    return results


def dropped_layer(store: Store) -> LayerKey:
    key = add_layer(store, BLOB)
    add_image(store, [key], "x")
    with store.layers.open(key) as layer:
        layer.drop_content()
    return key


def test_processes_that_add_the_same_layer_and_gc_lose_nothing(tmp_path: Path) -> None:
    run_together(tmp_path, ADD)
    with small_store(tmp_path) as store:
        store.gc()
        assert len(store.images.list()) == 3
        assert len(store.layers.list()) == 1
        assert store.fsck() == []


def test_each_chunk_is_put_by_one_of_the_processes_that_claim_it(tmp_path: Path) -> None:
    with small_store(tmp_path) as store:
        key = dropped_layer(store)
        put = [line for lines in run_together(tmp_path, PUT) for line in lines]
        assert sorted(put) == sorted(f"put {chunk}" for chunk in range(40))
        with store.layers.open(key) as layer:
            assert layer.complete
        assert store.fsck() == []


def test_leases_claims_and_locks_end_with_their_process(tmp_path: Path) -> None:
    with small_store(tmp_path) as store:
        key = add_layer(store, BLOB)
        child = Child(tmp_path, "", HOLD)
        child.go()
        assert child.line() == "held"
        with store.layers.open(key) as layer:
            assert layer.claim([1]) is None
        assert store.gc().freed == ()
        assert store.gc(content=True).kept != ()
        child.kill()
        with store.layers.open(key) as layer:
            claim = layer.claim([1])
            assert claim is not None
            claim.release()
        assert [one.kind for one in store.gc().freed] == ["layer"]
