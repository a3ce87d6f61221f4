"""Which image of the store a name means, and for which platform."""

from __future__ import annotations

import pytest

from imagefs.image.find import Wanted, find_image, find_local
from imagefs.image.pull import pull_image
from imagefs.oci.digest import Digest
from imagefs.oci.platform import Platform, host
from imagefs.store import NoSuchImageError
from imagefs.testing.layers import scan_blob

from .conftest import BASE, Bench, make_tar

TAR = make_tar({"a": b"a"})


@pytest.mark.parametrize(
    ("variant", "wanted", "fits"),
    [
        ("v8", "linux/arm64", True),
        ("", "linux/arm64/v8", True),
        ("v7", "linux/arm/v7", True),
        ("v6", "linux/arm/v7", True),
        ("v7", "linux/arm/v6", False),
        ("", "linux/amd64", False),
    ],
)
async def test_an_image_here_fits_a_platform_as_one_at_a_registry_does(
    bench: Bench, variant: str, wanted: str, fits: bool
) -> None:
    architecture = "arm64" if "arm64" in wanted or "amd64" in wanted else "arm"
    bench.publish(BASE, TAR, platform=Platform("linux", architecture, variant))
    image = await bench.pull(BASE)
    found = find_local(bench.store, "reg.example/base:1", Platform.parse(wanted))
    assert found == (image if fits else None)


async def test_names_digests_and_ids_find_the_image(bench: Bench) -> None:
    manifest = bench.publish(BASE, TAR)
    image = await bench.pull(BASE)
    for text in (
        "reg.example/base:1",
        "docker://reg.example/base:1",
        "base:1",
        f"reg.example/base@{manifest.digest}",
        f"reg.example/base:1@{manifest.digest}",
        str(manifest.digest),
        image.id,
        image.id[:12],
    ):
        assert find_image(bench.store, text, Wanted("never", host())) == image, text
    for text in ("reg.example/base:2", "reg.example/other:1", f"other@{manifest.digest}", "ba:1"):
        with pytest.raises(NoSuchImageError, match="never"):
            find_image(bench.store, text, Wanted("never"))


async def test_an_image_pulled_by_digest_is_found_by_it(bench: Bench) -> None:
    manifest = bench.publish(BASE, TAR)
    name = f"reg.example/base@{manifest.digest}"
    image = await pull_image(bench.store, bench.registry.source(BASE), lambda: name)
    for text in (name, str(manifest.digest), image.id[:12]):
        assert find_local(bench.store, text) == image
    assert find_local(bench.store, "reg.example/base:1") is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_layers_may_be_named_by_any_registered_digest(bench: Bench, algorithm: str) -> None:
    manifest = bench.publish(BASE, TAR, algorithm=algorithm)
    plain = scan_blob(TAR, algorithm=algorithm).index
    assert (plain.blob_digest, plain.diff_id) == (Digest.of(TAR, algorithm), Digest.of(TAR))
    image = await bench.pull(BASE)
    assert [key.blob for key in image.layers] == [layer.digest for layer in manifest.layers]
    assert bench.store.layers.find(manifest.layers[0].digest) == image.layers[0]
