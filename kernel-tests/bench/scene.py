"""What a benchmark works on: an image in a registry, stores, podman. Leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from harness.command import Cli
from harness.registry import Registry

from imagefs.testing.debian_image import DebianImages

_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


class Scene:
    """A directory on a real file system with a registry that holds the python image."""

    def __init__(self, directory: Path, rounds: int | None) -> None:
        self.directory = directory
        self._rounds = rounds
        self.registry = Registry(directory / "registry")
        self.registry.start()
        self.layout = DebianImages().python()
        self.image = self.registry.push(self.layout, "python:latest")
        self.cli = Cli(directory / "imagefs")
        self._stores = 0

    def rounds(self, usual: int) -> int:
        """How often a pair is repeated: `usual`, or what the command line says."""
        return self._rounds or usual

    @cached_property
    def mounted(self) -> Path:
        """The image, mounted once for all benchmarks of warm mounts, all content here and read."""
        place = self.cli.mountpoint("warm")
        self.cli("mount", "-q", self.image, place)
        subprocess.run(
            ["sh", "-c", f"find {place} -type f -exec cat {{}} + >/dev/null"], check=True
        )
        return place

    @cached_property
    def extracted(self) -> Path:
        """The same tree as plain files."""
        place = self.directory / "extracted"
        subprocess.run(["cp", "-a", self.mounted, place], check=True)
        return place

    @contextmanager
    def fresh_cli(self) -> Iterator[Cli]:
        """The command on an empty store, which is removed afterwards."""
        self._stores += 1
        cli = Cli(self.directory / f"fresh{self._stores}")
        try:
            yield cli
        finally:
            cli.clean()
            shutil.rmtree(cli.directory)

    @contextmanager
    def fresh_podman(self) -> Iterator[Podman]:
        """Podman and buildah on empty storage, which is removed afterwards."""
        self._stores += 1
        podman = Podman(self.directory / f"podman{self._stores}")
        try:
            yield podman
        finally:
            podman.remove()

    def close(self) -> None:
        """Unmount, stop, leave the directory to be deleted."""
        self.cli.clean()
        self.registry.stop()


class Podman:
    """Debian's podman and buildah with storage of their own: overlay, runc, no network."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        conf = directory / "containers.conf"
        conf.write_text(_CONTAINERS_CONF)
        here = {"CONTAINERS_CONF": str(conf), "HOME": str(directory), "TMPDIR": str(directory)}
        self.environment = {**os.environ, **here}
        self._storage = [
            f"--root={directory / 'root'}",
            f"--runroot={directory / 'runroot'}",
            "--storage-driver=overlay",
        ]

    def command(self, *arguments: str | Path, program: str = "podman") -> list[str]:
        """The command line of `podman ARGUMENTS` (or buildah's) on this storage."""
        extra = ["--runtime=runc"] if program == "podman" else []
        return [program, *self._storage, *extra, *map(str, arguments)]

    def __call__(self, *arguments: str | Path, program: str = "podman") -> str:
        """Run it; what it prints."""
        done = subprocess.run(
            self.command(*arguments, program=program),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout.strip()

    def pull(self, image: str) -> None:
        """Pull from a registry without TLS."""
        self("pull", "-q", "--tls-verify=false", image)

    def remove(self) -> None:
        """Unmount all of it and delete it."""
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            place = line.split()[4]
            if place.startswith(str(self.directory)):
                subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(self.directory)


@contextmanager
def scene(rounds: int | None = None) -> Iterator[Scene]:
    """A scene below /var/tmp (a disk, where /tmp may be memory), removed at the end."""
    with tempfile.TemporaryDirectory(prefix="imagefs-bench-", dir="/var/tmp") as directory:
        made = Scene(Path(directory), rounds)
        try:
            yield made
        finally:
            made.close()
