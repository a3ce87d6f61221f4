"""Shared by the tests of the registry client: a small image to push and fetch, quick retries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from imagefs.oci.digest import Digest
from imagefs.oci.reference import Reference
from imagefs.registry.access import Access
from imagefs.registry.destination import RegistryDestination
from imagefs.registry.opening import open_registry_destination, open_registry_source
from imagefs.registry.retry import RetryPolicy
from imagefs.registry.source import RegistrySource
from imagefs.testing.fake_registry import FakeRegistry
from imagefs.testing.transport_contract import CONFIG, LAYER, MANIFEST_TYPE, manifest

REPOSITORY = "team/app"


@dataclass
class Kit:
    """Opens sources and destinations at a fake registry, with files of the test's own."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def access(self, **options: Any) -> Access:
        return Access(**{"registries_conf": self.home / "registries.conf", **options})

    def configure(self, text: str) -> None:
        (self.home / "registries.conf").write_text(text)

    def write_auth(self, document: Mapping[str, object], name: str = "auth.json") -> Path:
        path = self.home / name
        path.write_text(json.dumps(document))
        return path

    def source(
        self, name: str, policy: RetryPolicy | None = None, **options: Any
    ) -> RegistrySource:
        policy = policy or RetryPolicy(budget=5, base=0.001)
        return open_registry_source(Reference.parse(name), self.access(**options), self.env, policy)

    def destination(
        self, name: str, policy: RetryPolicy | None = None, **options: Any
    ) -> RegistryDestination:
        policy = policy or RetryPolicy(budget=5, base=0.001)
        return open_registry_destination(
            Reference.parse(name), self.access(**options), self.env, policy
        )


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    made = Kit(tmp_path, {"HOME": str(tmp_path), "PATH": str(tmp_path), "XDG_RUNTIME_DIR": ""})
    made.configure("")
    return made


@pytest.fixture
def registry() -> FakeRegistry:
    """A registry that has one image, team/app:1."""
    made = FakeRegistry()
    for data in (CONFIG, LAYER):
        made.blobs[REPOSITORY, Digest.of(data)] = data
    raw = manifest()
    made.manifests[REPOSITORY, "1"] = (raw, MANIFEST_TYPE)
    made.manifests[REPOSITORY, str(Digest.of(raw))] = (raw, MANIFEST_TYPE)
    return made
