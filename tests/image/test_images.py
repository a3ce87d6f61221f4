"""Pull, commit, push and diff of images over a memory registry: what is sent, kept and refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from imagefs.image.commit import CommitOptions, NothingToCommit, commit, commit_image, open_diff
from imagefs.image.diff import changes_between
from imagefs.image.documents import ImageError, read_image
from imagefs.image.push import LayersUnavailable, PushOptions, push
from imagefs.oci import media_types
from imagefs.oci.digest import Digest
from imagefs.oci.manifest import Manifest, parse
from imagefs.store import DiffIDConflictError, Image, MountRecord
from imagefs.testing.uppers import EngineDir

from .conftest import BASE, Bench, make_tar

LOWER = make_tar({"etc/a": b"a" * 5000, "etc/b": b"b", "big": os.urandom(1 << 20)})
UPPER = make_tar({"etc/c": b"c"})


def no_fetch(*_: object) -> None:
    raise AssertionError("all content is here")


def edit(root: EngineDir) -> None:
    root.create(b"new", 0o644)
    root.unlink(b"etc/b")
    root.chmod(b"etc/a", 0o600)


async def committed(
    bench: Bench, options: CommitOptions | None = None, mount_id: str = "abcdef012345"
) -> tuple[Image, MountRecord]:
    bench.publish(BASE, LOWER, UPPER)
    record = bench.record(await bench.pull(BASE), mount_id)
    bench.change(record, edit)
    image, warnings = commit(
        bench.store, record, "reg.example/slim:1", options or CommitOptions(), no_fetch
    )
    assert warnings == []
    return image, record


def top_layer(bench: Bench, manifest: Manifest) -> dict[str, tarfile.TarInfo]:
    blob = bench.registry.blobs[manifest.layers[-1].digest]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as tar:
        return {member.name: member for member in tar.getmembers()}


async def test_a_pulled_image_is_known_by_name_and_reads_as_its_layers(bench: Bench) -> None:
    manifest = bench.publish(BASE, LOWER, UPPER)
    image = await bench.pull(BASE)
    assert image.manifest == manifest.digest
    assert image.names == ("reg.example/base:1",)
    tree = bench.store.tree(image.layers)
    assert [path for path, _ in tree.walk()] == [b"", b"big", b"etc", b"etc/a", b"etc/b", b"etc/c"]
    assert bench.store.locations.get(manifest.layers[0].digest) == [BASE]
    assert bench.store.fsck() == []


async def test_a_config_that_claims_anothers_diff_id_gets_nothing(bench: Bench) -> None:
    bench.publish(BASE, LOWER)
    await bench.pull(BASE)
    bench.publish("docker://reg.example/liar:1", UPPER, claim=[Digest.of(LOWER)])
    with pytest.raises(DiffIDConflictError):
        await bench.pull("docker://reg.example/liar:1")
    assert [image.names for image in bench.store.images.list()] == [("reg.example/base:1",)]
    tree = bench.store.tree((await bench.pull(BASE)).layers)
    assert tree.lookup(b"etc/c") is None


async def test_more_layers_than_diff_ids_are_refused(bench: Bench) -> None:
    bench.publish(BASE, LOWER, UPPER, claim=[Digest.of(LOWER)])
    with pytest.raises(ImageError, match="2 layers, its config 1 diffIDs"):
        await bench.pull(BASE)
    assert bench.store.layers.list() == []


async def test_a_commit_is_a_layer_above_the_base_and_says_how_it_came(bench: Bench) -> None:
    options = CommitOptions(author="me", message="why", changes=['CMD ["x"]', "ENV A=1"])
    image, record = await committed(bench, options)
    documents = read_image(bench.store, image.manifest)
    base = read_image(bench.store, record.manifest)
    assert documents.manifest.layers[:-1] == base.manifest.layers
    assert documents.manifest.layers[-1].media_type == media_types.OCI_LAYER
    assert documents.config.rootfs.diff_ids[-1] == documents.manifest.layers[-1].digest
    assert documents.config.config.cmd == ("x",)
    assert documents.config.config.env == ("A=1",)
    assert (documents.config.author, documents.config.history[-1].comment) == ("me", "why")
    tree = bench.store.tree(image.layers)
    ino = tree.lookup(b"etc/a")
    assert ino is not None
    assert tree.attr(ino).mode == 0o600
    assert tree.lookup(b"etc/b") is None
    assert tree.lookup(b"new") is not None
    assert bench.store.fsck() == []


async def test_the_same_upper_gives_the_same_layer_and_at_one_date_the_same_image(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, record = await committed(bench)
    again, _ = commit(bench.store, record, None, CommitOptions(), no_fetch)
    assert first.layers == again.layers
    assert first.manifest != again.manifest
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dated = [commit(bench.store, record, None, CommitOptions(), no_fetch)[0] for _ in range(2)]
    assert dated[0].manifest == dated[1].manifest
    config = read_image(bench.store, dated[0].manifest).config
    assert config.created == "2023-11-14T22:13:20Z"


async def test_a_squashed_commit_is_one_layer_of_the_whole_tree(bench: Bench) -> None:
    image, _ = await committed(bench, CommitOptions(squash=True))
    assert len(image.layers) == 1
    paths = [path for path, _ in bench.store.tree(image.layers).walk()]
    assert paths == [b"", b"big", b"etc", b"etc/a", b"etc/c", b"new"]
    assert len(read_image(bench.store, image.manifest).config.history) == 1


async def test_a_docker_commit_has_dockers_media_types(bench: Bench) -> None:
    image, _ = await committed(bench, CommitOptions(format="docker"))
    manifest = read_image(bench.store, image.manifest).manifest
    assert manifest.media_type == media_types.DOCKER_MANIFEST
    assert manifest.config.media_type == media_types.DOCKER_CONFIG


async def test_a_commit_fetches_only_what_changed_in_name_or_mode(bench: Bench) -> None:
    bench.publish(BASE, LOWER, UPPER)
    image = await bench.pull(BASE)
    bench.store.gc(content=True)
    record = bench.record(image)
    bench.change(record, edit)
    fetched: list[int] = []

    def fetch(layers: object, contents: object) -> None:
        assert isinstance(contents, list)
        fetched.extend(content.size for content in contents)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        commit(bench.store, record, "x", CommitOptions(), fetch)
    assert fetched == [5000]
    assert len(bench.store.images.list()) == 1


async def test_a_read_only_mount_has_nothing_to_commit(bench: Bench) -> None:
    _, record = await committed(bench)
    read_only = MountRecord(
        **{
            **{name: getattr(record, name) for name in record.__struct_fields__},
            "id": "00",
            "read_only": True,
            "upper": None,
        }
    )
    with pytest.raises(NothingToCommit), open_diff(bench.store, read_only):
        pass


async def test_a_push_sends_the_new_layer_alone_and_once(bench: Bench) -> None:
    image, _ = await committed(bench)
    before = set(bench.registry.blobs)
    name = "docker://reg.example/slim:1"
    pushed = await push(bench.store, image, bench.registry.destination(name), PushOptions())
    new = set(bench.registry.blobs) - before
    assert new == {pushed.layers[-1].digest, pushed.config.digest}
    assert bench.registry.names[name] == pushed.digest
    members = top_layer(bench, pushed)
    assert list(members) == [".", "etc", "etc/a", "etc/.wh.b", "new"]
    assert members["etc/a"].mode == 0o600
    again = await push(bench.store, image, bench.registry.destination(name), PushOptions())
    assert again.raw == pushed.raw


async def test_an_unchanged_image_keeps_its_manifest_when_pushed(bench: Bench) -> None:
    manifest = bench.publish(BASE, LOWER)
    image = await bench.pull(BASE)
    bench.store.gc(content=True)
    name = "docker://other.example/copy:1"
    pushed = await push(bench.store, image, bench.registry.destination(name), PushOptions())
    assert pushed.raw == manifest.raw


async def test_a_layer_whose_source_is_gone_is_packed_again_from_the_store(bench: Bench) -> None:
    manifest = bench.publish(BASE, LOWER)
    image = await bench.pull(BASE)
    bench.registry.blobs.clear()
    name = "docker://other.example/copy:1"
    pushed = await push(bench.store, image, bench.registry.destination(name), PushOptions())
    assert gzip.decompress(bench.registry.blobs[pushed.layers[0].digest]) == LOWER
    assert parse(*bench.registry.manifests[pushed.digest]).digest == pushed.digest
    assert pushed.config == manifest.config


async def test_a_layer_that_nobody_has_whole_is_named(bench: Bench) -> None:
    manifest = bench.publish(BASE, LOWER, UPPER)
    image = await bench.pull(BASE)
    bench.store.gc(content=True)
    bench.registry.blobs.clear()
    name = "docker://other.example/copy:1"
    with pytest.raises(LayersUnavailable) as caught:
        await push(bench.store, image, bench.registry.destination(name), PushOptions())
    for layer in manifest.layers:
        assert str(layer.digest) in str(caught.value)
    assert name not in bench.registry.names


async def test_zstd_and_docker_formats_are_what_they_say(bench: Bench) -> None:
    image, _ = await committed(bench)
    name = "docker://reg.example/z:1"
    options = PushOptions(compression="zstd", format="v2s2")
    pushed = await push(bench.store, image, bench.registry.destination(name), options)
    assert pushed.media_type == media_types.DOCKER_MANIFEST
    assert pushed.layers[-1].media_type == media_types.DOCKER_LAYER_ZSTD
    assert pushed.layers[0].media_type == media_types.DOCKER_LAYER_GZIP


async def test_an_images_diff_is_what_its_top_layer_changed(bench: Bench) -> None:
    image, _ = await committed(bench)
    store = bench.store
    changes = changes_between(store.tree(image.layers[:-1]), store.tree(image.layers))
    assert [f"{change.kind} {change.path.decode()}" for change in changes] == [
        "C etc",
        "C etc/a",
        "D etc/b",
        "A new",
    ]


async def test_a_commit_of_an_image_changes_its_config_only(bench: Bench) -> None:
    manifest = bench.publish(BASE, LOWER)
    image = await bench.pull(BASE)
    options = CommitOptions(changes=["USER 5"])
    made, _ = commit_image(bench.store, image, "other", options, no_fetch)
    documents = read_image(bench.store, made.manifest)
    assert documents.manifest.layers == manifest.layers
    assert documents.config.config.user == "5"
    assert documents.config.history[-1].empty_layer
    assert made.names == ("localhost/other:latest",)


async def test_an_image_can_be_squashed_without_a_mount(bench: Bench) -> None:
    bench.publish(BASE, LOWER, UPPER)
    image = await bench.pull(BASE)
    made, _ = commit_image(bench.store, image, None, CommitOptions(squash=True), no_fetch)
    before, after = bench.store.tree(image.layers), bench.store.tree(made.layers)
    assert len(made.layers) == 1
    assert [path for path, _ in after.walk()] == [path for path, _ in before.walk()]
    assert list((bench.store.root / "tmp").iterdir()) == []
