"""A container's OCI runtime spec from image config, options and host. Pure: opens and runs nothing.

runtime-spec 1.0.2; the defaults are podman 4.3's where docs/podman.md names no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime import seccomp, specmounts
from imagefs.runtime.containersconf import ContainersConf
from imagefs.runtime.host import Host
from imagefs.runtime.options import RunOptions, parse_signal, parse_size
from imagefs.runtime.process import bounding_set, process
from imagefs.runtime.users import User
from imagefs.runtime.volumes import Volume

OCI_VERSION = "1.0.2"
DEFAULT_STOP_SIGNAL = 15


@dataclass(frozen=True)
class SpecRequest:
    """All that a spec depends on.

    `files`: place in the container to a file on the host that is bound there; `volumes`: each with
    its source on the host; `seccomp`: profile and where it is from, None for no filter; `devices`:
    as in the spec, beside those that every container has.
    """

    container_id: str
    rootfs: str
    image: RuntimeConfig
    options: RunOptions
    conf: ContainersConf
    host: Host
    user: User
    files: Mapping[str, str]
    volumes: Sequence[tuple[Volume, str]]
    seccomp: tuple[bytes, str] | None
    devices: Sequence[Mapping[str, Any]] = ()


def build_spec(request: SpecRequest) -> tuple[dict[str, Any], list[str]]:
    """config.json as an object, and a warning for each wish that this host does not allow.

    Raises OptionError.
    """
    options, host = request.options, request.host
    hostname = hostname_of(request.container_id, options, host)
    started, warnings = process(request.image, options, request.conf, host, request.user, hostname)
    mounts = specmounts.mounts(
        options,
        files=request.files,
        volumes=request.volumes,
        shm_size=_shm_size(options, request.conf),
        cgroup_mode=host.cgroup_mode,
    )
    return {
        "ociVersion": OCI_VERSION,
        "process": started,
        "root": {"path": request.rootfs, "readonly": options.read_only},
        "hostname": hostname,
        "mounts": mounts,
        "annotations": _annotations(request),
        "linux": _linux(request, mounts),
    }, warnings


def hostname_of(container_id: str, options: RunOptions, host: Host) -> str:
    """As podman: what was asked for, the host's with its network, else the short id."""
    if options.hostname:
        return options.hostname
    return host.hostname if options.network == "host" else container_id[:12]


def stop_signal_of(image: RuntimeConfig, options: RunOptions) -> int:
    """The signal that asks the container to end; raises OptionError."""
    if options.stop_signal is not None:
        return options.stop_signal
    return parse_signal(image.stop_signal) if image.stop_signal else DEFAULT_STOP_SIGNAL


def cgroups_path(container_id: str) -> str:
    """The container's cgroup, in the root of each hierarchy (the cgroupfs manager's form)."""
    return f"/imagefs-{container_id}"


def _linux(request: SpecRequest, mounts: list[specmounts.Mount]) -> dict[str, Any]:
    options, host = request.options, request.host
    found: dict[str, Any] = {
        "namespaces": [{"type": name} for name in _namespaces(options, host)],
        "resources": _resources(request),
        "cgroupsPath": cgroups_path(request.container_id),
        "maskedPaths": specmounts.masked_paths(options),
        "readonlyPaths": specmounts.readonly_paths(options),
    }
    if request.devices:
        found["devices"] = [dict(device) for device in request.devices]
    sysctls = _sysctls(request.conf.containers.default_sysctls, options)
    if sysctls:
        found["sysctl"] = sysctls
    if root := specmounts.propagation(mounts):
        found["rootfsPropagation"] = root
    if request.seccomp is not None:
        raw, where = request.seccomp
        capabilities = bounding_set(options, request.conf, host)
        found["seccomp"] = seccomp.convert(raw, where, capabilities, host.arch, host.kernel)
    return found


def _namespaces(options: RunOptions, host: Host) -> list[str]:
    """With cgroup v1 the cgroup namespace stays the host's, as with podman."""
    found = ["pid", "ipc", "uts", "mount"]
    if options.network == "none":
        found.append("network")
    if host.cgroup_mode == "v2":
        found.append("cgroup")
    return found


def _resources(request: SpecRequest) -> dict[str, Any]:
    options, host = request.options, request.host
    found: dict[str, Any] = {
        "devices": [{"allow": options.privileged, "access": "rwm"}],
    }
    asked = options.pids_limit
    limit = request.conf.containers.pids_limit if asked is None else asked
    if limit > 0 and "pids" in host.controllers:
        found["pids"] = {"limit": limit}
    return found


def _sysctls(defaults: Sequence[str], options: RunOptions) -> dict[str, str]:
    """The configured sysctls, but for those of the network where that is the host's."""
    pairs = (text.partition("=") for text in defaults)
    return {
        name.strip(): value.strip()
        for name, _, value in pairs
        if not (name.startswith("net.") and options.network == "host")
    }


def _shm_size(options: RunOptions, conf: ContainersConf) -> int:
    if options.shm_size is not None:
        return options.shm_size
    return parse_size(conf.containers.shm_size, "shm_size")


def _annotations(request: SpecRequest) -> dict[str, str]:
    pairs = (text.partition("=") for text in request.conf.containers.annotations)
    return {
        **{name.strip(): value.strip() for name, _, value in pairs},
        "io.container.manager": "imagefs",
        "org.opencontainers.image.stopSignal": str(stop_signal_of(request.image, request.options)),
        **request.options.annotations,
    }
