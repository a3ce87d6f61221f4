"""gc frees what nothing refers to and nothing else; fsck names what is wrong and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from imagefs.oci.digest import Digest
from imagefs.store import Image, LayerKey, MountRecord, Store
from imagefs.system.atomic import names_in, remove_tree
from imagefs.testing.stores import add_image, add_layer, add_mount, small_store, small_tar

BLOB = small_tar({"f": b"content" * 1000})


def test_what_nothing_refers_to_is_freed_with_its_size(store: Store) -> None:
    add_layer(store, BLOB)
    store.blobs.put(b"loose")
    report = store.gc()
    assert sorted(one.kind for one in report.freed) == ["blob", "layer"]
    assert report.size > 8192
    assert store.gc().freed == ()
    assert names_in(store.root / "layers") == []
    assert names_in(store.root / "tmp") == []


def test_a_kept_layer_blob_lives_as_long_as_its_image(store: Store) -> None:
    add_image(store, [add_layer(store, BLOB)], "x")
    store.blobs.put(BLOB)
    store.gc()
    assert store.blobs.get(Digest.of(BLOB)) == BLOB
    store.rmi("x")
    assert store.blobs.get(Digest.of(BLOB)) is None


def test_an_index_kept_with_an_image_lives_as_long(store: Store) -> None:
    image = add_image(store, [add_layer(store, BLOB)])
    index = store.blobs.put(b"the index")
    manifest, config = store.blobs.get(image.manifest), store.blobs.get(image.config)
    assert manifest is not None
    assert config is not None
    store.images.add(manifest, "m", config, image.layers, name="x", keep=[index])
    store.gc()
    assert store.blobs.get(index) == b"the index"
    store.rmi("x")
    assert store.blobs.get(index) is None


def test_a_lease_keeps_what_was_added_and_what_was_found(store: Store, tmp_path: Path) -> None:
    found = add_layer(store, BLOB)
    with small_store(tmp_path) as other:
        with other.lease("pull", "x"):
            assert other.layers.find(found.blob) == found
            added = add_layer(other, small_tar({"other": b""}))
            image = add_image(other, [found, added])
            assert store.gc().freed == ()
        assert {one.kind for one in store.gc().freed} == {"image", "layer", "blob"}
    assert image.manifest not in [one.manifest for one in store.images.list()]
    assert names_in(store.root / "locks/leases") == []


def test_an_open_layer_is_not_freed_and_is_named(store: Store) -> None:
    key = add_layer(store, BLOB)
    with store.layers.open(key):
        report = store.gc()
        assert report.freed == ()
        assert str(key.blob) in report.kept[0]
    assert [one.kind for one in store.gc().freed] == ["layer"]


def test_content_goes_where_nobody_reads_and_indexes_stay(store: Store) -> None:
    read, unread = add_layer(store, BLOB), add_layer(store, small_tar({"g": b"g" * 9000}))
    image = add_image(store, [read, unread], "x")
    record = add_mount(store, image, mountpoint="/mnt/here")
    with store.layers.open(read) as layer:
        report = store.gc(content=True)
        assert layer.complete
    assert [one.name for one in report.freed] == [str(unread.blob)]
    assert f"mount {record.id} at /mnt/here" in report.kept[0]
    assert store.layers.find(unread.blob) == unread
    assert store.gc(content=True).kept == ()
    with store.layers.open(read) as layer:
        assert layer.progress()[0] == 0
    assert store.fsck() == []


def test_a_damaged_layer_is_named_and_keeps_no_other_from_being_freed(store: Store) -> None:
    damaged, other = (add_layer(store, small_tar({"f": data * 5000})) for data in (b"a", b"b"))
    add_image(store, [damaged, other], "x")
    index = store.layers.path(damaged) / "index"
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    report = store.gc(content=True)
    assert [one.name for one in report.freed if one.kind == "content"] == [str(other.blob)]
    assert "damaged" in report.kept[0]


def test_content_that_is_nowhere_else_is_kept(store: Store) -> None:
    key = add_layer(store, BLOB)
    add_image(store, [key], "x")
    for source in store.locations.get(key.blob):
        store.locations.remove(key.blob, source)
    report = store.gc(content=True)
    assert report.freed == ()
    assert "nowhere else" in report.kept[0]


def test_df_counts_what_is_there(store: Store) -> None:
    assert all(line.total == line.size == 0 for line in store.df() if line.type != "Blobs")
    image = add_image(store, [add_layer(store, BLOB)], "x")
    add_mount(store, image)
    lines = {line.type: line for line in store.df()}
    assert (lines["Images"].total, lines["Images"].active) == (1, 1)
    assert lines["Layer content"].size == lines["Layer content"].reclaimable >= 7000
    assert lines["Layer indexes"].reclaimable == 0
    assert (lines["Blobs"].total, lines["Blobs"].active, lines["Blobs"].reclaimable) == (2, 2, 0)
    assert lines["Uppers"].total == 1


def overwrite(path: Path, at: int) -> None:
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes((byte[0] ^ 1,)))


DAMAGE: dict[str, Callable[[Store, Image], None]] = {
    "blob": lambda s, i: overwrite(s.blobs.file(i.config), 5),
    "data": lambda s, i: overwrite(s.layers.path(i.layers[0]) / "data", 5),
    "skeleton": lambda s, i: overwrite(s.layers.path(i.layers[0]) / "skeleton", 20),
    "index": lambda s, i: overwrite(s.layers.path(i.layers[0]) / "index", 200),
    "map": lambda s, i: overwrite(s.layers.path(i.layers[0]) / "map", 1),
    "tree": lambda s, i: overwrite(s.root / "trees" / names_in(s.root / "trees")[0], 9),
    "blob file": lambda s, i: s.blobs.file(i.manifest).unlink(),
    "layer directory": lambda s, i: remove_tree(s.layers.path(i.layers[0])),
    "upper": lambda s, i: Path(str(s.mounts.list()[0].upper)).rmdir(),
    "stray blob": lambda s, i: (s.root / "blobs/sha256" / ("0" * 64)).touch(),
    "stray tree": lambda s, i: (s.root / "trees/0").touch(),
    "stray layer": lambda s, i: (s.root / "layers/0").mkdir(),
    "stray upper": lambda s, i: (s.root / "mounts/0").mkdir(),
    "stray file": lambda s, i: (s.root / "blobs/sha256/what").touch(),
    "diffID row": lambda s, i: _run(s, f"UPDATE layers SET diff_id = 'sha256:{'0' * 64}'"),
    "image row": lambda s, i: _run(s, "DELETE FROM image_layers"),
    "name row": lambda s, i: _run(s, "UPDATE names SET manifest = 'sha256:0'"),
}


def _run(store: Store, sql: str) -> None:
    store.core.db.rows("PRAGMA foreign_keys = OFF")
    store.core.db.run(sql)


@pytest.mark.parametrize("damage", DAMAGE)
def test_fsck_names_each_damage(store: Store, damage: str) -> None:
    image = add_image(store, [add_layer(store, BLOB)], "x")
    add_mount(store, image)
    store.tree(image.layers)
    assert store.fsck() == []
    DAMAGE[damage](store, image)
    problems = store.fsck()
    assert problems
    assert all("\n" not in str(problem) for problem in problems)
    assert store.fsck() == problems, "fsck must repair nothing"


class References(RuleBasedStateMachine):
    """Images, names, mounts and gc in any order, against sets of what must be there."""

    layers = Bundle("layers")
    images = Bundle("images")
    mounts = Bundle("mounts")
    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = small_store(Path(self.directory.name))
        self.named: dict[str, Image] = {}
        self.mounted: dict[str, Image] = {}
        self.count = 0

    @rule(target=layers, number=st.integers(0, 4))
    def add_layer(self, number: int) -> bytes:
        return small_tar({f"file{number}": bytes([number]) * 5000})

    @rule(target=images, blobs=st.lists(layers, max_size=3), name=names)
    def add_image(self, blobs: list[bytes], name: str) -> Image:
        image = add_image(self.store, [add_layer(self.store, blob) for blob in blobs], name)
        self.named[name] = image
        return image

    @rule(target=mounts, image=images)
    def mount(self, image: Image) -> MountRecord | None:
        if self.store.images.get(image.manifest) is None:
            return None
        record = add_mount(self.store, image)
        self.mounted[record.id] = image
        return record

    @rule(record=consumes(mounts))
    def remove_mount(self, record: MountRecord | None) -> None:
        if record is not None:
            assert self.store.mounts.remove(record.id)
            del self.mounted[record.id]

    @rule(name=names)
    def untag(self, name: str) -> None:
        assert self.store.images.untag(name) == (self.named.pop(name, None) is not None)

    @rule(name=names)
    def rmi(self, name: str) -> None:
        if name in self.named:
            self.store.rmi(name, force=True)
            del self.named[name]

    @rule(content=st.booleans())
    def gc(self, content: bool) -> None:
        self.store.gc(content=content)
        live = {i.manifest: i for i in (*self.named.values(), *self.mounted.values())}
        assert {image.manifest for image in self.store.images.list()} == set(live)
        keys = {key for image in live.values() for key in image.layers}
        assert set(self.store.layers.list()) == keys
        assert set(names_in(self.store.root / "layers")) == {key.id for key in keys}
        blobs = {d.hex for image in live.values() for d in (image.manifest, image.config)}
        found = self.store.root / "blobs/sha256"
        assert set(names_in(found)) == blobs
        assert set(names_in(self.store.root / "mounts")) == set(self.mounted)

    @invariant()
    def nothing_that_is_referred_to_is_lost(self) -> None:
        for name, image in self.named.items():
            found = self.store.images.require(name)
            assert found.manifest == image.manifest
        for image in (*self.named.values(), *self.mounted.values()):
            assert self.store.blobs.get(image.manifest) is not None
            for key in image.layers:
                self.readable(key)

    def readable(self, key: LayerKey) -> None:
        with self.store.layers.open(key) as layer:
            assert layer.index.blob_digest == key.blob

    def teardown(self) -> None:
        self.store.gc()
        assert self.store.fsck() == []
        self.store.close()
        self.directory.cleanup()


TestReferences = References.TestCase
TestReferences.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
