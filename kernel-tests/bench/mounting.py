"""`imagefs mount` of an image whose index is in the store, against importing trio five times."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.proxy import CountingProxy

from bench.measure import Row, clock, compare, seconds_of, value
from bench.scene import Scene

_IMPORT = [sys.executable, "-c", "import trio"]
_TIMES = 5


def run(scene: Scene) -> Iterator[Row]:
    """By a name in the store, by a registry's name whose manifest is asked for, and the bytes."""
    place = scene.cli.mountpoint("mounting")
    scene.cli("mount", "-q", scene.image, place)
    _umount(scene, place)
    yield compare(
        "mount, name in the store",
        lambda: _mount(scene, scene.image, place),
        lambda: _TIMES * seconds_of(_IMPORT),
        peer_name="5 × import trio",
        rounds=scene.rounds(20),
        goal="<= 1.0",
    )
    yield compare(
        "mount, manifest from registry",
        lambda: _mount(scene, f"docker://{scene.image}", place),
        lambda: _TIMES * seconds_of(_IMPORT) + clock(lambda: _manifest(scene)),
        peer_name="5 × import trio + manifest",
        rounds=scene.rounds(20),
        goal="<= 1.0",
    )
    yield _transferred(scene, place)


def _mount(scene: Scene, image: str, place: Path) -> float:
    took = clock(lambda: (scene.cli("mount", "-q", image, place), os.listdir(place)))  # noqa: PTH208 - what `ls` does
    _umount(scene, place)
    return took


def _umount(scene: Scene, place: Path) -> None:
    scene.cli("umount", "--discard", place)


def _manifest(scene: Scene) -> None:
    """One round trip, as bare as can be."""
    connection = http.client.HTTPConnection(scene.registry.host)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    connection.request("GET", "/v2/python/manifests/latest", headers=accept)
    if connection.getresponse().status != http.client.OK:
        raise RuntimeError("the registry has no python:latest")
    connection.close()


def _transferred(scene: Scene, place: Path) -> Row:
    """What comes over the wire for a mount and a long listing, once the content was dropped."""
    image_size = sum(p.stat().st_size for p in (scene.layout.path / "blobs").rglob("*"))
    with CountingProxy(scene.registry.port) as proxy:
        name = f"docker://{proxy.host}/python:latest"
        scene.cli("mount", "-q", name, place)
        _umount(scene, place)
        scene.cli("system", "gc", "--content")
        proxy.reset()
        scene.cli("mount", "-q", name, place)
        seconds_of(["ls", "-lR", place])
        received = sum(exchange.received for exchange in proxy.exchanges())
        _umount(scene, place)
    return value(
        "bytes for mount and ls -lR",
        "KiB",
        received / 1024,
        image_size / 100 / 1024,
        note="limit: 1 % of the image",
    )
