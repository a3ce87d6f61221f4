"""Bundles of a busybox root for tests of real runtimes; all of them are removed with the stand."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime import containersconf, host
from imagefs.runtime.conmon import ConmonDriver
from imagefs.runtime.driver import Bundle
from imagefs.runtime.ociruntime import OciRuntime, find_conmon, find_runtime
from imagefs.runtime.options import RunOptions
from imagefs.runtime.spec import SpecRequest, build_spec
from imagefs.runtime.users import User

ROOT = User(0, 0, (), "root", "/root")


def make_root(directory: Path) -> Path:
    """A root file system: busybox with its commands, a passwd, a file that is no program."""
    root = directory / "rootfs"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nu:x:100:200::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nextra:x:300:u\n")
    (root / "bin/plain").write_text("no program\n")
    return root


class BusyboxStand:
    """A ConmonDriver over the host's runc, with its state in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.conf = containersconf.ContainersConf()
        path = os.environ["PATH"]
        self.driver = ConmonDriver(
            OciRuntime(find_runtime("runc", self.conf, path), directory / "runc"),
            find_conmon(self.conf, path),
        )
        self.root = make_root(directory)
        self.bundles: list[Bundle] = []

    def exits(self, code: int) -> Bundle:
        """See Stand."""
        return self.bundle("sh", "-c", f"exit {code}")

    def waits(self) -> Bundle:
        """See Stand."""
        return self.bundle("sleep", "1000")

    def missing(self) -> Bundle:
        """See Stand."""
        return self.bundle("no-such-command")

    def forbidden(self) -> Bundle:
        """See Stand."""
        return self.bundle("/bin/plain")

    def bundle(self, *command: str, stdin: bool = False, **options: Any) -> Bundle:
        """A bundle that runs `command`, with any of RunOptions."""
        chosen = RunOptions(command, interactive=stdin, **options)
        name = secrets.token_hex(32)
        request = SpecRequest(
            name,
            str(self.root),
            RuntimeConfig(),
            chosen,
            self.conf,
            host.probe(os.environ),
            ROOT,
            {},
            (),
            None,
        )
        directory, lasting = self.directory / name[:12], self.directory / f"{name[:12]}-lasting"
        directory.mkdir()
        lasting.mkdir()
        (directory / "config.json").write_text(json.dumps(build_spec(request)[0]))
        bundle = Bundle(name, name[:12], directory, lasting, chosen.terminal, stdin)
        self.bundles.append(bundle)
        return bundle

    def clean(self) -> None:
        """Remove all containers."""
        for bundle in self.bundles:
            self.driver.delete(bundle, force=True)


@contextmanager
def busybox_stand(directory: Path) -> Iterator[BusyboxStand]:
    """A stand that is cleaned at the end."""
    stand = BusyboxStand(directory)
    try:
        yield stand
    finally:
        stand.clean()
