"""Images and their names, and what keeps them: podman's rules, and nothing claimed is believed."""

from __future__ import annotations

import pytest

from imagefs.errors import ConflictError, NotFoundError
from imagefs.oci.digest import Digest
from imagefs.store import (
    AmbiguousNameError,
    ContainerRecord,
    DiffIDConflictError,
    Image,
    ImageMismatchError,
    InUseError,
    NoSuchImageError,
    Store,
    canonical,
)
from imagefs.testing.stores import (
    MANIFEST_TYPE,
    add_image,
    add_layer,
    add_mount,
    image_documents,
    small_tar,
)

SECRET = small_tar({"secret": b"of another tenant"})
OWN = small_tar({"own": b"mine"})


@pytest.fixture
def image(store: Store) -> Image:
    return add_image(store, [add_layer(store, OWN)], "127.0.0.1:5000/team/app:1")


def add_container(store: Store, image: Image, name: str = "web") -> ContainerRecord:
    return store.containers.add(
        ContainerRecord(
            id=store.containers.new_id(),
            name=name,
            manifest=image.manifest,
            image_name="app",
            created_ns=1,
        )
    )


def test_an_image_is_what_was_added(store: Store, image: Image) -> None:
    assert image.names == ("127.0.0.1:5000/team/app:1",)
    assert image.created_ns == 1704164645_123456789
    assert (image.os, image.architecture, image.variant) == ("linux", "amd64", "")
    assert image.size == len(OWN)
    assert image.id == image.config.hex
    assert store.blobs.get(image.manifest) is not None
    assert add_image(store, image.layers, "127.0.0.1:5000/team/app:1") == image
    assert store.images.list() == [image]


def test_an_image_that_claims_anothers_diff_id_gets_nothing_and_spoils_nothing(
    store: Store,
) -> None:
    secret = add_layer(store, SECRET)
    honest = add_image(store, [secret], "localhost/honest:1")
    own = add_layer(store, OWN)
    with store.layers.open(secret) as layer:
        claimed = layer.index.diff_id
    assert claimed is not None
    manifest, config = image_documents([own], [claimed])
    with pytest.raises(DiffIDConflictError) as caught:
        store.images.add(manifest, MANIFEST_TYPE, config, [own], name="localhost/liar:1")
    with store.layers.open(own) as layer:
        assert str(layer.index.diff_id) in str(caught.value)
    assert str(claimed) in str(caught.value)
    assert isinstance(caught.value, ConflictError)
    assert store.images.list() == [honest]
    assert store.images.resolve("liar:1") is None
    # Nor can it bring the other's entry in under its own blob.
    with pytest.raises(ImageMismatchError):
        store.images.add(manifest, MANIFEST_TYPE, config, [secret])
    assert store.tree(honest.layers).lookup(b"secret") is not None
    store.gc()
    assert store.fsck() == []


def test_documents_that_do_not_belong_together_are_refused(store: Store) -> None:
    key = add_layer(store, OWN)
    with store.layers.open(key) as layer:
        diff_id = layer.index.diff_id
    assert diff_id is not None
    manifest, config = image_documents([key], [diff_id])
    for bad_manifest, bad_config, keys in (
        (manifest, config + b" ", [key]),
        (manifest, config, []),
        (b"{", config, [key]),
        (manifest, b"[]", [key]),
        (*image_documents([key], [diff_id, diff_id]), [key]),
    ):
        with pytest.raises(ImageMismatchError):
            store.images.add(bad_manifest, MANIFEST_TYPE, bad_config, keys)
    assert store.images.list() == []


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("app", "localhost/app:latest"),
        ("team/app:2", "localhost/team/app:2"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("docker://quay.io/app:1", "quay.io/app:1"),
        ("quay.io/a@sha256:" + "0" * 64, "quay.io/a@sha256:" + "0" * 64),
        ("quay.io/a:1@sha256:" + "0" * 64, "quay.io/a@sha256:" + "0" * 64),
        ("oci:/some/dir:1", "oci:/some/dir:1"),
    ],
)
def test_names_are_kept_in_full(given: str, full: str) -> None:
    assert canonical(given) == full


def test_an_image_answers_to_full_and_short_names_ids_and_digests(
    store: Store, image: Image
) -> None:
    repository = "127.0.0.1:5000/team/app"
    for text in (
        f"{repository}:1",
        f"docker://{repository}:1",
        "team/app:1",
        "app:1",
        image.id,
        image.id[:12],
        f"sha256:{image.id}",
        str(image.manifest),
        f"{repository}@{image.manifest}",
        f"app@{image.manifest}",
    ):
        assert store.images.resolve(text) == image, text
    for text in ("pp:1", "app", "app:2", "quay.io/app:1", image.id[:2], "", "no/app:1"):
        assert store.images.resolve(text) is None, text
    with pytest.raises(NoSuchImageError, match="not known"):
        store.images.require("app:2")


def test_localhost_goes_before_other_registries(store: Store, image: Image) -> None:
    mine = add_image(store, image.layers, "app:1", note="mine")
    assert store.images.resolve("app:1") == mine


def test_an_ambiguous_short_name_names_the_candidates(store: Store, image: Image) -> None:
    add_image(store, image.layers, "quay.io/app:1", note="other")
    with pytest.raises(AmbiguousNameError) as caught:
        store.images.resolve("app:1")
    assert "127.0.0.1:5000/team/app:1, quay.io/app:1" in str(caught.value)
    store.images.tag("quay.io/app:1", image.manifest)
    assert store.images.require("app:1").manifest == image.manifest


def test_an_ambiguous_id_names_the_candidates(store: Store, image: Image) -> None:
    prefixes: dict[str, str] = {}
    for number in range(500):
        other = add_image(store, image.layers, note=str(number))
        first = prefixes.setdefault(other.id[:3], other.id)
        if first != other.id:
            break
    else:
        pytest.fail("no two of 500 ids share three digits")
    with pytest.raises(AmbiguousNameError) as caught:
        store.images.resolve(other.id[:3])
    assert first[:12] in str(caught.value)
    assert other.id[:12] in str(caught.value)


def test_a_name_moves_and_leaves_its_old_image_dangling(store: Store, image: Image) -> None:
    newer = add_image(store, image.layers, image.names[0], note="newer")
    old = store.images.get(image.manifest)
    assert old is not None
    assert old.dangling
    assert store.images.resolve("app:1") == newer
    assert store.images.untag(image.names[0])
    assert not store.images.untag(image.names[0])


def test_rmi_takes_names_first_and_the_image_with_the_last(store: Store, image: Image) -> None:
    store.images.tag("second", image.manifest)
    report = store.rmi("app:1")
    assert (report.untagged, report.removed) == ((image.names[0],), None)
    report = store.rmi("second")
    assert report.removed == image.id
    assert {one.kind for one in report.freed} == {"layer", "blob"}
    assert store.images.list() == []
    assert store.layers.list() == []
    assert store.fsck() == []
    with pytest.raises(NoSuchImageError):
        store.rmi("second")


def test_rmi_by_id_wants_force_for_several_names(store: Store, image: Image) -> None:
    store.images.tag("second", image.manifest)
    with pytest.raises(InUseError, match=r"several names \(127.0.0.1:5000/team/app:1, localhost/"):
        store.rmi(image.id[:12])
    assert store.rmi(image.id[:12], force=True).removed == image.id


def test_rmi_leaves_other_dangling_images_alone(store: Store, image: Image) -> None:
    dangling = add_image(store, image.layers, note="dangling")
    store.rmi("app:1")
    assert store.images.list() == [dangling]
    assert store.layers.list() == list(dangling.layers)


def test_mounts_and_containers_pin_an_image_and_are_named(store: Store, image: Image) -> None:
    mount = add_mount(store, image, mountpoint="/mnt/\udcff")
    container = add_container(store, image)
    with pytest.raises(InUseError) as caught:
        store.rmi("app:1")
    assert mount.id in str(caught.value)
    assert "web" in str(caught.value)
    report = store.rmi("app:1", force=True)
    assert report.removed is None
    assert len(report.pinned_by) == 2
    store.gc()
    assert store.images.get(image.manifest) is not None
    assert store.tree(mount.layers).lookup(b"own") is not None
    assert store.fsck() == []
    store.mounts.remove(mount.id)
    store.containers.remove(container.id)
    store.gc()
    assert store.images.list() == []
    assert store.layers.list() == []


def test_a_name_of_a_pinned_image_that_has_others_is_only_untagged(
    store: Store, image: Image
) -> None:
    add_mount(store, image)
    store.images.tag("second", image.manifest)
    assert store.rmi("second").removed is None


def test_mount_records_come_back_as_they_were(store: Store, image: Image) -> None:
    record = add_mount(store, image, mountpoint="/mnt/\udcff", options={"a": [1]})
    assert record.layers == image.layers
    assert record.upper == str(store.root / "mounts" / record.id / "upper")
    assert (store.mounts.directory(record.id) / "work").is_dir()
    assert store.mounts.get(record.id[:4]) == record
    assert store.mounts.list() == [record]
    assert store.mounts.at("/mnt/\udcff") == [record]
    assert store.mounts.get("nothing") is None
    with pytest.raises(ConflictError):
        store.mounts.add(record)
    assert store.mounts.remove(record.id)
    assert not store.mounts.remove(record.id)
    assert not store.mounts.directory(record.id).exists()
    with pytest.raises(NotFoundError):
        store.mounts.update(record)


def test_a_read_only_mount_has_no_upper(store: Store, image: Image) -> None:
    record = add_mount(store, image, read_only=True)
    assert record.upper is None
    assert not store.mounts.directory(record.id).exists()


def test_a_mount_of_an_image_that_is_gone_is_refused(store: Store, image: Image) -> None:
    store.rmi("app:1")
    with pytest.raises(NoSuchImageError):
        add_mount(store, image)
    store.gc()
    assert list((store.root / "mounts").iterdir()) == []


def test_containers_have_unique_names(store: Store, image: Image) -> None:
    first = add_container(store, image)
    assert store.containers.get("web") == first
    assert store.containers.get(first.id[:6]) == first
    assert store.containers.get("we") is None
    with pytest.raises(ConflictError, match=first.id[:12]):
        add_container(store, image)
    second = add_container(store, image, "db")
    assert store.containers.list() == sorted([first, second], key=lambda one: one.id)
    assert store.containers.remove(first.id)
    assert store.containers.get("web") is None


def test_locations_are_kept_latest_first_while_the_layer_is(store: Store, image: Image) -> None:
    blob = image.layers[0].blob
    for source in ("docker://a/b:1", "docker://c/d:1", "docker://a/b:1"):
        store.locations.add(blob, source)
    assert store.locations.get(blob)[:2] == ["docker://a/b:1", "docker://c/d:1"]
    store.rmi("app:1")
    assert store.locations.get(blob) == []
    assert store.locations.get(Digest.of(b"?")) == []
