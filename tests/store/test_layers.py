"""Layer entries: what is present is verified, what is not verified is never served."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from imagefs.errors import NotFoundError
from imagefs.formats.index import LayerIndex
from imagefs.formats.rebuild import rebuild_tar
from imagefs.oci.digest import Digest
from imagefs.store import InUseError, MissingContentError, Store, StoreError, VerifyError
from imagefs.system.atomic import names_in
from imagefs.testing.disks import FailingDisk
from imagefs.testing.stores import add_image, add_layer, small_store, small_tar

BIG = os.urandom(3 << 20)
BLOB = small_tar({"a": b"hello", "big": BIG, "empty": b""})


def content(index: LayerIndex, chunk: int) -> bytes:
    """The bytes of a chunk, from the layer as it was made."""
    return BLOB[index.chunks.stream[chunk] :][: index.chunks.length[chunk]]


def test_a_committed_layer_is_found_complete_and_readable(store: Store) -> None:
    key = add_layer(store, BLOB)
    assert store.layers.find(Digest.of(BLOB)) == key
    with store.layers.open(key) as layer:
        assert layer.complete
        here, total = layer.progress()
        assert here == total == len(BIG) + 5
        big = next(e for e in layer.index.entries if e.path == b"big")
        assert layer.read(big.data_offset, big.size) == BIG
        assert b"".join(rebuild_tar(layer.index, layer.skeleton(), layer.read)) == BLOB
        with pytest.raises(StoreError, match="shorter"):
            layer.read(layer.index.data_size, 1)


def test_an_unknown_blob_has_no_layer(store: Store) -> None:
    assert store.layers.find(Digest.of(b"other")) is None


def test_opening_an_absent_layer_is_an_error(store: Store, tmp_path: Path) -> None:
    key = add_layer(small_store(tmp_path / "other"), BLOB)
    with pytest.raises(NotFoundError, match="not in the store"):
        store.layers.open(key)


def test_a_layer_that_was_not_committed_leaves_nothing(store: Store) -> None:
    with store.layers.create() as writer:
        writer.content(0, b"half")
        writer.skeleton(b"half")
    assert store.layers.list() == []
    assert names_in(store.root / "tmp") == []
    assert names_in(store.root / "layers") == []


def test_an_index_without_a_proof_is_never_found_by_its_blob(store: Store) -> None:
    with store.layers.open(add_layer(store, BLOB)) as proved:
        index = proved.index
    store.gc()
    assert store.layers.list() == []
    claimed = LayerIndex(
        codec=index.codec,
        blob_digest=index.blob_digest,
        blob_size=index.blob_size,
        diff_id=None,
        stream_size=index.stream_size,
        data_size=index.data_size,
        chunks=index.chunks,
        spans=index.spans,
        entries=index.entries,
    )
    with store.layers.create() as writer:
        key = writer.commit(claimed)
    assert store.layers.find(index.blob_digest) is None
    with store.layers.open(key) as layer:
        assert layer.missing(0, layer.index.data_size) == list(range(len(index.chunks)))
    proved_key = add_layer(store, BLOB)
    assert proved_key != key
    assert store.layers.find(index.blob_digest) == proved_key


def test_dropped_content_comes_back_chunk_by_chunk(store: Store) -> None:
    key = add_layer(store, BLOB)
    with store.layers.open(key) as layer:
        dropped = layer.drop_content()
        assert dropped == len(BIG) + 5
        assert store.layers.usage(key)[0] == 0
        assert layer.progress() == (0, len(BIG) + 5)
        assert layer.missing(0, 1) == [0]
        with pytest.raises(MissingContentError, match="fetch it first"):
            layer.read(0, 5)
        layer.put(0, content(layer.index, 0))
        assert layer.read(0, 5) == b"hello"
        assert layer.missing(0, 4096) == []
        for chunk in range(1, len(layer.index.chunks)):
            layer.put(chunk, content(layer.index, chunk))
        assert layer.complete
    assert store.fsck() == []


def test_wrong_bytes_are_refused_and_not_marked(store: Store) -> None:
    with store.layers.open(add_layer(store, BLOB)) as layer:
        layer.drop_content()
        for wrong in (b"HELLO", b"hello!", b""):
            with pytest.raises(VerifyError):
                layer.put(0, wrong)
        assert not layer.present(0)


def test_content_of_a_layer_that_is_open_elsewhere_is_not_dropped(store: Store) -> None:
    key = add_layer(store, BLOB)
    with store.layers.open(key) as layer, store.layers.open(key) as reader:
        with pytest.raises(InUseError):
            layer.drop_content()
        assert reader.complete
    with store.layers.open(key) as layer:
        assert layer.drop_content() > 0


def test_streaming_again_fills_a_layer_whose_content_was_dropped(store: Store) -> None:
    key = add_layer(store, BLOB)
    with store.layers.open(key) as layer:
        layer.drop_content()
        assert add_layer(store, BLOB) == key
        assert layer.complete


def test_enospc_reaches_the_caller_and_the_map_stays_true(tmp_path: Path) -> None:
    disk = FailingDisk(10**9)
    store = small_store(tmp_path, disk=disk)
    with store, store.layers.open(add_layer(store, BLOB)) as layer:
        layer.drop_content()
        disk.at = disk.count
        with pytest.raises(OSError, match="No space left") as caught:
            layer.put(1, content(layer.index, 1))
        assert caught.value.errno == errno.ENOSPC
        assert layer.missing(0, layer.index.data_size) == list(range(len(layer.index.chunks)))
        disk.at = 10**9
        layer.put(1, content(layer.index, 1))
        assert layer.present(1)


def test_after_a_reboot_chunks_are_verified_before_they_are_served(tmp_path: Path) -> None:
    with small_store(tmp_path) as store:
        key = add_layer(store, BLOB)
        path = store.layers.path(key)
    with open(path / "data", "r+b") as data:
        data.write(b"JELLO")
    with small_store(tmp_path, boot=b"another boot 000") as store, store.layers.open(key) as layer:
        assert layer.missing(0, layer.index.data_size) == [0]
        layer.put(0, b"hello")
        assert layer.read(0, 5) == b"hello"
        assert layer.complete


def test_a_synced_chunk_is_not_verified_again_after_a_reboot(tmp_path: Path) -> None:
    with small_store(tmp_path) as store:
        key = add_layer(store, BLOB)
        with store.layers.open(key) as layer:
            layer.sync()
    with open(store.layers.path(key) / "data", "r+b") as data:
        data.write(b"JELLO")
    with small_store(tmp_path, boot=b"another boot 000") as store, store.layers.open(key) as layer:
        assert layer.read(0, 5) == b"JELLO"
        assert [problem.kind for problem in store.fsck()] == ["layer"]


def test_a_damaged_index_is_not_opened(store: Store) -> None:
    key = add_layer(store, BLOB)
    path = store.layers.path(key) / "index"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(VerifyError, match="damaged"):
        store.layers.open(key)


def test_a_chunk_is_claimed_once_and_again_after_its_release(store: Store) -> None:
    key = add_layer(store, BLOB)
    with store.layers.open(key) as layer, store.layers.open(key) as other:
        claim = layer.claim([0, 2, 3])
        assert claim is not None
        assert layer.claim([2]) is None
        assert other.claim([1, 3]) is None
        with other.claim([1]) as unrelated:  # type: ignore[union-attr]  # None would fail here
            assert unrelated.held
        claim.release()
        again = other.claim([0, 1, 2, 3], wait=True)
        assert again is not None
        again.release()


def test_a_tree_is_built_once_and_follows_its_layers(store: Store) -> None:
    lower = add_layer(store, BLOB)
    upper = add_layer(store, small_tar({".wh.big": b"", "new": b"n"}))
    tree = store.tree([lower, upper])
    assert tree.lookup(b"big") is None
    assert tree.lookup(b"new") is not None
    assert len(names_in(store.root / "trees")) == 1
    assert store.tree([lower, upper]).lookup(b"new") == tree.lookup(b"new")
    assert store.tree([lower]).lookup(b"big") is not None
    assert len(names_in(store.root / "trees")) == 2
    add_image(store, [lower, upper])
    store.images.tag("kept", store.images.list()[0].manifest)
    store.gc()
    assert len(names_in(store.root / "trees")) == 1
    assert store.fsck() == []
