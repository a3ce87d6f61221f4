"""Images whose bytes arrived as promised and are wrong: documents, layers, platforms."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Callable

import pytest
from harness.hostile import (
    BLOB,
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    OCI,
    TAR,
    HostileRegistry,
    digest_of,
    tar,
)
from harness.refusals import Refusals, assert_says, the_line

from imagefs.testing.layers import zstd_compress

DOCKER = "application/vnd.docker.distribution.manifest"
Case = tuple[Callable[[HostileRegistry], object], list[str]]


def of_blob(
    data: bytes, media_type: str = LAYER, diff_id: str = digest_of(TAR)
) -> Callable[[HostileRegistry], object]:
    """An image of one layer."""
    return lambda r: r.image([r.blob(data, media_type)], r.config([diff_id]))


def of_config(diff_ids: list[str] | None, **fields: object) -> Callable[[HostileRegistry], object]:
    """An image of one good layer with such a config."""
    return lambda r: r.image(config=r.config(diff_ids, **fields))


def of_document(
    value: dict[str, object], media_type: str = MANIFEST
) -> Callable[[HostileRegistry], object]:
    return lambda r: r.document(value, media_type)


def _broken_checksum() -> bytes:
    blob = bytearray(BLOB)
    blob[len(blob) // 2] ^= 0xFF
    return bytes(blob)


def _tar_with(header: bytes) -> bytes:
    return header.ljust(512, b"\0") + bytes(1024)


NOISE = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(64))

LAYERS: dict[str, Case] = {
    "text": (
        of_blob(b"I am no layer, but a letter to my sister.\n" * 100),
        ["layer sha256:", "not a tar archive"],
    ),
    "noise": (of_blob(NOISE), ["tar"]),
    "noise in gzip": (of_blob(gzip.compress(NOISE)), ["tar"]),
    "gzip cut off": (of_blob(BLOB[:-1000]), ["gzip"]),
    "gzip with a flipped byte": (of_blob(_broken_checksum()), ["gzip"]),
    "gzip with garbage behind it": (of_blob(BLOB + b"garbage"), ["gzip"]),
    "zstd cut off": (of_blob(zstd_compress(TAR)[:-10], f"{OCI}.layer.v1.tar+zstd"), ["zstd"]),
    "tar cut off": (of_blob(TAR[:5000], f"{OCI}.layer.v1.tar"), ["tar"]),
    "tar with a wrong checksum": (
        of_blob(gzip.compress(TAR[:100] + b"7" + TAR[101:])),
        ["checksum"],
    ),
    "xz": (of_blob(lzma.compress(TAR), f"{OCI}.layer.v1.tar+xz"), ["tar+xz", "not supported"]),
    "xz that calls itself gzip": (of_blob(lzma.compress(TAR)), ["tar"]),
    "media type of a picture": (of_blob(BLOB, "image/png"), ["image/png", "not supported"]),
}

DOCUMENTS: dict[str, Case] = {
    "schema 1": (
        of_document({"schemaVersion": 1, "fsLayers": [], "history": []}, f"{DOCKER}.v1+json"),
        ["schema 1", "push the image again"],
    ),
    "signed schema 1": (
        of_document({"schemaVersion": 1, "fsLayers": []}, f"{DOCKER}.v1+prettyjws"),
        ["schema 1", "push the image again"],
    ),
    "schema 7": (of_document({"schemaVersion": 7, "layers": []}), ["schemaVersion 7"]),
    "layers and manifests": (
        lambda r: r.image(manifests=[]),
        ["both layers and manifests", "ambiguous"],
    ),
    "another media type inside": (
        lambda r: r.image(mediaType=INDEX),
        ["manifest"],
    ),
    "media type of something else": (
        of_document(
            {"mediaType": "application/vnd.cncf.helm.chart"}, "application/vnd.cncf.helm.chart"
        ),
        ["application/vnd.cncf.helm.chart"],
    ),
    "neither image nor index": (of_document({"mediaType": MANIFEST}), ["neither an image"]),
    "digest that is none": (
        lambda r: r.image([{**r.blob(BLOB), "digest": "sha256:../../etc/passwd"}]),
        ["digest"],
    ),
    "digest by md5": (lambda r: r.image([{**r.blob(BLOB), "digest": "md5:" + "0" * 32}]), ["md5"]),
    "negative size": (lambda r: r.image([r.blob(BLOB, size=-1)]), ["size -1"]),
    "size that is text": (lambda r: r.image([r.blob(BLOB, size="big")]), ["manifest", "size"]),
    "config without rootfs": (of_config(None), ["config", "rootfs"]),
    "config without a platform": (of_config([digest_of(TAR)], os=""), ["os and architecture"]),
    "config that is no JSON": (lambda r: r.image(config=r.blob(b"{", CONFIG)), ["image config"]),
    "config that is a list": (lambda r: r.image(config=r.blob(b"[]", CONFIG)), ["image config"]),
    "more layers than diffIDs": (of_config([]), ["1 layers", "0 diffIDs"]),
    "more diffIDs than layers": (of_config([digest_of(TAR)] * 3), ["1 layers", "3 diffIDs"]),
    "artifact that is no image": (
        lambda r: r.image(
            [r.blob(b"{}", "application/vnd.cyclonedx+json")],
            r.blob(b"{}", f"{OCI}.empty.v1+json"),
            artifactType="application/vnd.cyclonedx+json",
        ),
        ["application/vnd.cyclonedx+json"],
    ),
    "index of other platforms": (
        lambda r: r.document(
            {"mediaType": INDEX, "manifests": [_entry(r, "s390x"), _entry(r, "riscv64")]}, INDEX
        ),
        ["no image for platform linux/", "linux/riscv64", "linux/s390x"],
    ),
    "index of nothing": (
        lambda r: r.document({"mediaType": INDEX, "manifests": []}, INDEX),
        ["no image for platform linux/"],
    ),
    "index of itself": (
        lambda r: r.document(
            {
                "mediaType": INDEX,
                "manifests": [
                    r.document(
                        {"manifests": [r.document({"manifests": []}, INDEX, "3")]}, INDEX, "2"
                    )
                ],
            },
            INDEX,
        ),
        ["index"],
    ),
    "index of a manifest that is not there": (
        lambda r: r.document(
            {
                "mediaType": INDEX,
                "manifests": [{"mediaType": MANIFEST, "digest": digest_of(b"gone"), "size": 4}],
            },
            INDEX,
        ),
        [f"manifest {digest_of(b'gone')}: not found"],
    ),
}


def _entry(registry: HostileRegistry, architecture: str) -> dict[str, object]:
    registry.image(tag="other")
    raw, _ = registry.registry.manifests["bad", "other"]
    platform = {"os": "linux", "architecture": architecture}
    return {"mediaType": MANIFEST, "digest": digest_of(raw), "size": len(raw), "platform": platform}


@pytest.mark.parametrize("case", LAYERS)
def test_bad_layer(case: str, hostile: HostileRegistry, refused: Refusals) -> None:
    prepare, says = LAYERS[case]
    prepare(hostile)
    refused("mount", "-q", hostile.name(), refused.cli.mountpoint("here"), says=says)


@pytest.mark.parametrize("case", DOCUMENTS)
def test_bad_document(case: str, hostile: HostileRegistry, refused: Refusals) -> None:
    prepare, says = DOCUMENTS[case]
    prepare(hostile)
    refused("pull", "-q", hostile.name(), says=says)


def test_wrong_platform_names_those_there_are(hostile: HostileRegistry, refused: Refusals) -> None:
    entries = [_entry(hostile, "arm64"), _entry(hostile, "amd64")]
    hostile.document({"mediaType": INDEX, "manifests": entries}, INDEX)
    refused(
        "mount",
        "-q",
        "--platform=linux/mips",
        hostile.name(),
        refused.cli.mountpoint("here"),
        says=["no image for platform linux/mips", "it has linux/amd64, linux/arm64"],
    )


def test_image_for_one_other_platform(hostile: HostileRegistry, refused: Refusals) -> None:
    """Who asks for a platform gets it or nothing; who doesn't gets what there is, and is told."""
    hostile.image(config=hostile.config([digest_of(TAR)], architecture="s390x"))
    says = ["no image for platform linux/mips", "it has linux/s390x only"]
    refused("pull", "-q", "--platform=linux/mips", hostile.name(), says=says)
    pulled = refused.cli("pull", hostile.name())
    assert "Warning: the image is for linux/s390x, this host is linux/" in pulled.stderr


def test_what_is_good_stays_for_the_next_try_until_gc(
    hostile: HostileRegistry, refused: Refusals
) -> None:
    """A layer that came whole is no leaving: nobody sees it, and gc takes it."""
    before = refused.state()
    broken = hostile.blob(BLOB[:-1000])
    hostile.image([hostile.blob(BLOB), broken], hostile.config([digest_of(TAR)] * 2))
    failed = refused.cli("pull", "-q", hostile.name(), status=125)
    assert len(failed.stderr.splitlines()) == 1
    assert refused.cli("images", "-q", "-a").stdout == ""
    refused.cli("system", "gc")
    refused.assert_as(before)


@pytest.mark.parametrize("blob", [BLOB, b""], ids=["good", "empty"])
def test_diff_id_that_lies(blob: bytes, hostile: HostileRegistry, refused: Refusals) -> None:
    """The layer is what its digest says, so it may stay for others until gc; the image may not."""
    before = refused.state()
    of_blob(blob, diff_id=digest_of(b"another"))(hostile)
    place = refused.cli.mountpoint("here")
    failed = refused.cli("mount", "-q", hostile.name(), place, status=125)
    assert_says(
        the_line(failed.stderr), ["claims diffID", digest_of(b"another"), "nothing was added"]
    )
    assert refused.cli("images", "-q", "-a").stdout == ""
    refused.cli("system", "gc")
    refused.assert_as(before)


def test_layer_of_nothing_is_good(hostile: HostileRegistry, refused: Refusals) -> None:
    """The cases above are no more than they should be: an empty tar is a layer."""
    empty = tar({})
    hostile.image([hostile.blob(gzip.compress(empty))], hostile.config([digest_of(empty)]))
    refused.cli("pull", "-q", hostile.name())
