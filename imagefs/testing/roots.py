"""A Rootfs that is a plain directory, for tests of containers without mounts. Knows no image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from imagefs.store import ContainerRecord, Image


@dataclass
class DirectoryRootfs:
    """See Rootfs. `fill` puts the image's files into a new root; `log` holds what was called."""

    fill: Callable[[Path], None]
    log: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def mount(self, record: ContainerRecord, image: Image, place: Path) -> str | None:
        """Fill the directory, or fail as told."""
        self.log.append("mount")
        if self.failure is not None:
            raise self.failure
        self.fill(place)
        return None

    def unmount(self, record: ContainerRecord, place: Path, *, discard: bool) -> None:
        """Empty it."""
        self.log.append("discard" if discard else "unmount")
        if place.is_dir():
            shutil.rmtree(place)
            place.mkdir()
