"""How long commands take that touch no image, against Python's own start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from harness.command import COMMAND

from bench.measure import Row, compare, seconds_of
from bench.scene import Scene


def run(scene: Scene) -> Iterator[Row]:
    """`imagefs --help` and cheap verbs."""
    environment = scene.cli.environment
    # The interpreter itself: a virtual environment's would have to read its .pth files too.
    nothing = [sys._base_executable, "-I", "-c", "pass"]  # type: ignore[attr-defined] # no public name
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
