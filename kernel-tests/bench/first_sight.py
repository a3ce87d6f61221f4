"""A tar.gz image that nobody here has seen: mount and read everything, against podman's pull."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, clock, compare, read_everything
from bench.scene import Scene


def run(scene: Scene) -> Iterator[Row]:
    """Over loopback, an empty store each time."""
    yield compare(
        "first sight: mount",
        lambda: _ours(scene, read=False),
        lambda: _podman(scene, read=False),
        peer_name="podman pull, mount",
        rounds=scene.rounds(3),
    )
    yield compare(
        "first sight: mount, read all",
        lambda: _ours(scene, read=True),
        lambda: _podman(scene, read=True),
        peer_name="podman pull, mount, read all",
        rounds=scene.rounds(5),
        goal="<= 1.0",
    )


def _ours(scene: Scene, read: bool) -> float:
    with scene.fresh_cli() as cli:
        place = cli.mountpoint("first")
        os.sync()  # what earlier rounds wrote is not this one's to wait for
        took = clock(lambda: cli("mount", "-q", scene.image, place))
        return took + (read_everything(place) if read else 0.0)


def _podman(scene: Scene, read: bool) -> float:
    with scene.fresh_podman() as podman:
        os.sync()
        took = clock(lambda: podman.pull(scene.image))
        mounted: list[str] = []
        took += clock(lambda: mounted.append(podman("image", "mount", scene.image)))
        return took + (read_everything(Path(mounted[0])) if read else 0.0)
