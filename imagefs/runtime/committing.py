"""What of a container goes into an image made of it: its settings, not its plumbing. Pure."""

from __future__ import annotations

from typing import Any

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime import records
from imagefs.store import ContainerRecord

#: Files and mount points that every container gets; `diff` does not show them, as podman's.
PLUMBING = frozenset(
    (
        b"dev",
        b"etc/hostname",
        b"etc/hosts",
        b"etc/mtab",
        b"etc/resolv.conf",
        b"proc",
        b"run",
        b"run/.containerenv",
        b"run/secrets",
        b"sys",
    )
)


def image_config(record: ContainerRecord, image: RuntimeConfig) -> dict[str, Any]:
    """The fields of the image's `config` that the container's options change.

    As podman-commit(1): what was given to `run` is what the new image starts by default.
    """
    options = records.options(record)
    changes: dict[str, Any] = {}
    if options.entrypoint is not None:
        changes["Entrypoint"] = list(options.entrypoint)
    if options.command or options.entrypoint is not None:
        changes["Cmd"] = list(options.command)
    if options.env:
        env = dict(item.partition("=")[::2] for item in image.env or ())
        env.update(options.env)
        changes["Env"] = [f"{key}={value}" for key, value in env.items()]
    if options.user is not None:
        changes["User"] = options.user
    if options.workdir is not None:
        changes["WorkingDir"] = options.workdir
    if options.labels:
        changes["Labels"] = {**(image.labels or {}), **options.labels}
    if options.stop_signal is not None:
        changes["StopSignal"] = str(options.stop_signal)
    return changes
