"""A Rootfs that is a plain directory, for tests of containers without mounts. Knows no image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from imagefs.store import ContainerRecord, Image


@dataclass
class DirectoryRootfs:
    """See Rootfs. `fill` puts the image's files into a new root; `log` holds what was called.

    `before` is called with the name of what is to be done next, and may raise.
    """

    fill: Callable[[Path], None]
    log: list[str] = field(default_factory=list)
    before: Callable[[str], None] = field(default=lambda _: None)

    def mount(self, record: ContainerRecord, image: Image, place: Path) -> str | None:
        """Fill the directory."""
        self.before("mount")
        self.log.append("mount")
        self.fill(place)
        return None

    def unmount(self, record: ContainerRecord, place: Path, *, discard: bool) -> None:
        """Empty it."""
        step = "discard" if discard else "unmount"
        self.before(step)
        self.log.append(step)
        if place.is_dir():
            shutil.rmtree(place)
            place.mkdir()
