"""Runs the installed `imagefs` command on a store of its own and removes all that it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from imagefs.testing import leftovers

#: The console script of the environment that runs the tests.
COMMAND = Path(sys.executable).with_name("imagefs")
_TIMEOUT = 120


class CommandFailed(AssertionError):
    """The command's status was not the expected one; the message holds its output."""


class Cli:
    """`imagefs` with IMAGEFS_ROOT in `directory`; what it mounts goes below `directory` too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "store"
        # So that leftovers are found by name, whatever environment they were started with.
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("IMAGEFS_")},
            "IMAGEFS_ROOT": str(self.root),
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
        }

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        status: int | None = 0,
        stdin: str | bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; raises CommandFailed unless it exits with `status` (None: any)."""
        done = subprocess.run(
            [COMMAND, *arguments],
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            env={**self.environment, **(environment or {})},
            timeout=timeout,
            check=False,
        )
        text = subprocess.CompletedProcess(
            [str(argument) for argument in done.args],
            done.returncode,
            done.stdout.decode(errors="surrogateescape"),
            done.stderr.decode(errors="surrogateescape"),
        )
        if status is not None and done.returncode != status:
            raise CommandFailed(
                f"{' '.join(text.args)}: exit {done.returncode}, not {status}\n"
                f"{text.stdout}{text.stderr}"
            )
        return text

    def start(self, *arguments: str | os.PathLike[str]) -> subprocess.Popen[bytes]:
        """Start it with pipes on all three streams; the caller waits for it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment
        )

    def mountpoint(self, name: str) -> Path:
        """Make an empty directory to mount on."""
        path = self.directory / "mnt" / name
        path.mkdir(parents=True)
        return path

    def clean(self) -> None:
        """Kill what still works for this store, detach its mounts, remove its run directory."""
        leftovers.clean_store(self.root, self.directory)
