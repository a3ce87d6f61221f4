"""The runtime in memory against the contract that real ones are held to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from imagefs.runtime.driver import Bundle
from imagefs.testing.runtime_contract import RuntimeContract, Stand
from imagefs.testing.runtimes import MemoryRuntime


@dataclass
class MemoryStand:
    directory: Path
    driver: MemoryRuntime = field(default_factory=MemoryRuntime)

    def exits(self, code: int) -> Bundle:
        return self._bundle("exit", str(code))

    def waits(self) -> Bundle:
        return self._bundle("wait")

    def missing(self) -> Bundle:
        return self._bundle("missing")

    def forbidden(self) -> Bundle:
        return self._bundle("forbidden")

    def _bundle(self, *command: str) -> Bundle:
        config = {"process": {"args": command}}
        (self.directory / "config.json").write_text(json.dumps(config))
        return Bundle("c" * 64, "name", self.directory, self.directory)


class TestMemory(RuntimeContract):
    @contextmanager
    def stand(self, directory: Path) -> Iterator[Stand]:
        yield MemoryStand(directory)
