"""What this host allows and is: one reading of /proc and /sys, as values. Changes nothing."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagefs.oci.platform import host as host_platform
from imagefs.runtime import rlimits
from imagefs.runtime.capabilities import from_mask
from imagefs.runtime.rlimits import Limit
from imagefs.system.processes import kernel_version

CgroupMode = Literal["v1", "hybrid", "v2", "none"]


@dataclass(frozen=True)
class Host:
    """The host, as far as a container's spec depends on it.

    `available`: what both the bounding and the permitted set have; `limits`: by --ulimit's names.
    `cgroup_mode`: see cgroups(7); with "hybrid" the controllers are those of v1.
    """

    hostname: str
    arch: str
    kernel: tuple[int, int]
    available: frozenset[str]
    limits: Mapping[str, Limit]
    nr_open: int
    oom_score_adj: int
    cgroup_mode: CgroupMode
    controllers: frozenset[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_raise(self) -> bool:
        """Whether limits may be raised above what this process has."""
        return "CAP_SYS_RESOURCE" in self.available


def probe(environment: Mapping[str, str]) -> Host:
    """The host that this process runs on."""
    status = _fields(Path("/proc/self/status").read_text().splitlines())
    mode, controllers = cgroups(Path("/sys/fs/cgroup"))
    return Host(
        hostname=socket.gethostname(),
        arch=host_platform().architecture,
        kernel=kernel_version(),
        available=from_mask(int(status["CapBnd"], 16) & int(status["CapPrm"], 16)),
        limits={name: _limit(name) for name in rlimits.NAMES if _has(name)},
        nr_open=int(Path("/proc/sys/fs/nr_open").read_text()),
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        cgroup_mode=mode,
        controllers=controllers,
        environment=environment,
    )


def cgroups(root: Path) -> tuple[CgroupMode, frozenset[str]]:
    """How cgroups are mounted below `root`, and the controllers that containers can use."""
    unified = root / "cgroup.controllers"
    if unified.exists():
        return "v2", frozenset(unified.read_text().split())
    names = frozenset(
        name
        for entry in (root.iterdir() if root.is_dir() else ())
        if (entry / "tasks").exists()
        for name in entry.name.split(",")
    )
    if not names:
        return "none", names
    return ("hybrid" if (root / "unified/cgroup.controllers").exists() else "v1"), names


def _fields(lines: Iterable[str]) -> dict[str, str]:
    split = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in split}


def _has(name: str) -> bool:
    return hasattr(resource, f"RLIMIT_{name.upper()}")


def _limit(name: str) -> Limit:
    soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    return Limit(*(rlimits.UNLIMITED if n == resource.RLIM_INFINITY else n for n in (soft, hard)))


def is_privileged() -> bool:
    """Whether this process is root."""
    return os.geteuid() == 0
