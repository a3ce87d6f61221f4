"""How long commands take that touch no image, against Python's own start."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from harness.command import COMMAND

from bench.measure import Row, compare, seconds_of
from bench.scene import Scene


def run(scene: Scene) -> Iterator[Row]:
    """`imagefs --help` and cheap verbs."""
    environment = scene.cli.environment
    # Debian's own, which starts fastest: a virtual environment's reads .pth files first.
    nothing = ["/usr/bin/python3", "-c", "pass"]
    cases = [("--help", "<= 5.0"), ("mounts", ""), ("images", ""), ("mount --help", "")]
    for arguments, goal in cases:
        command: list[str | Path] = [COMMAND, *arguments.split()]
        yield compare(
            f"imagefs {arguments}",
            partial(seconds_of, command, environment),
            lambda: seconds_of(nothing),
            peer_name="python3 -c pass",
            rounds=scene.rounds(30),
            goal=goal,
        )
