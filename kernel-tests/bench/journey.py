"""Commit, push and run after a small change, against buildah and podman; for information."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bench.measure import Row, clock, compare
from bench.scene import Podman, Scene

_numbers = count()


def run_changes(scene: Scene) -> Iterator[Row]:
    """Everything warm: what a working day repeats."""
    with scene.fresh_podman() as podman:
        podman.pull(scene.image)
        working = podman("from", "--pull-never", scene.image, program="buildah")
        there = Path(podman("mount", working, program="buildah"))
        ours = f"{scene.registry.host}/ours:1"
        theirs = f"{scene.registry.host}/theirs:1"
        yield compare(
            "commit of a small change",
            lambda: _commit(scene, ours),
            lambda: _buildah_commit(podman, working, there, theirs),
            peer_name="buildah commit",
            rounds=scene.rounds(7),
        )
        yield compare(
            "push of a small change",
            lambda: _push(scene, ours),
            lambda: _podman_push(podman, working, there, theirs),
            peer_name="podman push",
            rounds=scene.rounds(7),
        )


def run_containers(scene: Scene) -> Iterator[Row]:
    """One container that does nothing, image and storage warm."""
    with scene.fresh_podman() as podman:
        podman.pull(scene.image)
        scene.cli("run", "--rm", scene.image, "true")
        yield compare(
            "run --rm IMAGE true",
            lambda: clock(lambda: scene.cli("run", "--rm", scene.image, "true")),
            lambda: clock(lambda: podman("run", "--rm", "--network=host", scene.image, "true")),
            peer_name="podman run",
            rounds=scene.rounds(7),
        )


def _change(root: Path) -> None:
    (root / "root" / "note").write_text(f"{next(_numbers)}\n")


def _commit(scene: Scene, name: str) -> float:
    _change(scene.mounted)
    return clock(lambda: scene.cli("commit", "-q", scene.mounted, name))


def _push(scene: Scene, name: str) -> float:
    _commit(scene, name)
    return clock(lambda: scene.cli("push", "-q", name))


def _buildah_commit(podman: Podman, working: str, there: Path, name: str) -> float:
    _change(there)
    return clock(lambda: podman("commit", "-q", working, name, program="buildah"))


def _podman_push(podman: Podman, working: str, there: Path, name: str) -> float:
    _buildah_commit(podman, working, there, name)
    return clock(lambda: podman("push", "-q", "--tls-verify=false", name))
