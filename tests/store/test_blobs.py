"""Blobs: whole and verified, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagefs.oci.digest import Digest
from imagefs.store import Store, StoreVersionError, VerifyError, default_roots
from imagefs.testing.stores import add_image, add_layer, small_store, small_tar


def test_what_was_put_comes_back(store: Store) -> None:
    digest = store.blobs.put(b"document")
    assert digest == Digest.of(b"document")
    assert store.blobs.put(b"document") == digest
    assert store.blobs.get(digest) == b"document"
    path = store.blobs.path(digest)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o400


def test_other_digest_algorithms_are_kept_too(store: Store) -> None:
    digest = store.blobs.put(b"document", "sha512")
    assert digest == Digest.of(b"document", "sha512")
    assert store.blobs.get(digest) == b"document"


def test_an_absent_blob_is_none(store: Store) -> None:
    digest = Digest.of(b"absent")
    assert store.blobs.get(digest) is None
    assert store.blobs.path(digest) is None
    assert not store.blobs.delete(digest)


def test_a_damaged_blob_is_never_handed_out(store: Store) -> None:
    digest = store.blobs.put(b"document")
    path = store.blobs.file(digest)
    path.chmod(0o600)
    path.write_bytes(b"Document")
    with pytest.raises(VerifyError, match="damaged"):
        store.blobs.get(digest)
    assert "damaged" in str(store.fsck()[0])


def test_a_stream_with_another_digest_than_promised_leaves_nothing(store: Store) -> None:
    with store.blobs.create() as writer:
        writer.write(b"some")
        with pytest.raises(VerifyError):
            writer.commit(Digest.of(b"other"))
    assert store.blobs.get(Digest.of(b"some")) is None
    assert list((store.root / "tmp").iterdir()) == []


def test_a_kept_blob_can_be_deleted_but_no_manifest(store: Store) -> None:
    image = add_image(store, [add_layer(store, small_tar({}))], "x")
    blob = store.blobs.put(b"kept layer")
    assert store.blobs.delete(blob)
    assert store.blobs.get(blob) is None
    assert not store.blobs.delete(image.manifest)
    assert store.blobs.get(image.manifest) is not None


@pytest.mark.parametrize("where", ["version", "meta.db"])
def test_a_store_of_a_newer_version_is_refused_in_one_line(tmp_path: Path, where: str) -> None:
    with small_store(tmp_path) as store:
        if where == "version":
            (store.root / "version").write_text("imagefs store 99\n")
        else:
            store.core.db.run("PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match="99") as caught, small_store(tmp_path) as store:
        store.images.list()
    assert "\n" not in str(caught.value)
    assert "--root" in str(caught.value)


def test_roots_follow_the_user_and_the_environment() -> None:
    root, run = default_roots({}, uid=0)
    assert root == Path("/var/lib/imagefs")
    assert run.parent == Path("/run/imagefs")
    env = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/7"}
    root, run = default_roots(env, uid=7)
    assert root == Path("/home/u/.local/share/imagefs")
    assert run.parent == Path("/run/user/7/imagefs")
    assert default_roots({**env, "XDG_DATA_HOME": "/d"}, uid=7)[0] == Path("/d/imagefs")
    chosen = default_roots({**env, "IMAGEFS_ROOT": "/elsewhere"}, uid=7)
    assert chosen[0] == Path("/elsewhere")
    assert chosen[1] != run
