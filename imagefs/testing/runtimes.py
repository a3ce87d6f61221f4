"""A RuntimeDriver in memory: its containers are rows of a table, and nothing ever runs.

What a process would do is read from its command: `exit N`, `wait`, `missing` or `forbidden`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from imagefs.runtime.driver import Bundle, State, explain
from imagefs.runtime.errors import ContainerStateError


@dataclass
class _Container:
    state: State
    command: list[str]
    code: int | None = None


@dataclass
class MemoryRuntime:
    """See RuntimeDriver. `containers` by id; `log` holds what was called, in order.

    `before` is called with the name of what is to be done next, and may raise.
    """

    containers: dict[str, _Container] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    before: Callable[[str], None] = field(default=lambda _: None)

    def create(self, bundle: Bundle) -> None:
        """Read the bundle's config.json, as a runtime does."""
        self.before("create")
        self.log.append("create")
        if bundle.container_id in self.containers:
            raise ContainerStateError(f"{bundle.container_id}: exists already")
        command = json.loads((bundle.directory / "config.json").read_bytes())["process"]["args"]
        if command == ["missing"]:
            raise explain("memory", 'exec: "missing": executable file not found in $PATH')
        if command == ["forbidden"]:
            raise explain("memory", 'exec: "forbidden": permission denied')
        self.containers[bundle.container_id] = _Container("created", command)

    def start(self, bundle: Bundle) -> None:
        """End at once with N for `exit N`; go on for `wait`."""
        self.before("start")
        self.log.append("start")
        container = self.containers[bundle.container_id]
        if container.command[0] == "exit":
            container.state, container.code = "stopped", int(container.command[1])
        else:
            container.state = "running"

    def state(self, bundle: Bundle) -> State:
        """See RuntimeDriver."""
        container = self.containers.get(bundle.container_id)
        return "absent" if container is None else container.state

    def kill(self, bundle: Bundle, signal: int) -> None:
        """Any signal ends the process."""
        self.log.append(f"kill {signal}")
        if self.state(bundle) not in ("created", "running"):
            raise ContainerStateError(f"{bundle.container_id}: not running")
        container = self.containers[bundle.container_id]
        container.state, container.code = "stopped", 128 + signal

    def wait(self, bundle: Bundle, timeout: float | None = None) -> int | None:
        """Nothing happens by itself here: to wait for ever for what runs is an error."""
        code = self.containers[bundle.container_id].code
        assert code is not None or timeout is not None, "would wait for ever"
        return code

    def delete(self, bundle: Bundle, *, force: bool = False) -> None:
        """See RuntimeDriver."""
        self.before("delete")
        self.log.append("delete")
        if self.state(bundle) == "running" and not force:
            raise ContainerStateError(f"{bundle.container_id}: running")
        self.containers.pop(bundle.container_id, None)
