"""The transports against their contract: memory, OCI layout, a registry in-process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from imagefs.oci.digest import Digest
from imagefs.oci.reference import Reference
from imagefs.registry.access import Access
from imagefs.registry.opening import open_registry_destination, open_registry_source
from imagefs.registry.retry import RetryPolicy
from imagefs.testing.fake_registry import FakeRegistry, serve
from imagefs.testing.transport_contract import Stand, TransportContract
from imagefs.testing.transports import MemoryRegistry
from imagefs.transport import open_destination, open_source, parse_image_name
from imagefs.transport.protocols import ImageDestination, ImageSource

FAST = RetryPolicy(budget=5, base=0.001)


@dataclass
class MemoryStand:
    registry: MemoryRegistry

    def source(self, tag: str) -> ImageSource:
        return self.registry.source(f"memory:{tag}")

    def destination(self, tag: str) -> ImageDestination:
        return self.registry.destination(f"memory:{tag}")

    def damage(self, digest: Digest, data: bytes) -> None:
        self.registry.blobs[digest] = data


class TestMemory(TransportContract):
    @asynccontextmanager
    async def stand(self, directory: Path) -> AsyncIterator[Stand]:
        yield MemoryStand(MemoryRegistry())


@dataclass
class LayoutStand:
    directory: Path

    def source(self, tag: str) -> ImageSource:
        return open_source(parse_image_name(f"oci:{self.directory}:{tag}"), Access())

    def destination(self, tag: str) -> ImageDestination:
        return open_destination(parse_image_name(f"oci:{self.directory}:{tag}"), Access())

    def damage(self, digest: Digest, data: bytes) -> None:
        (self.directory / "blobs" / digest.algorithm / digest.hex).write_bytes(data)


class TestOciLayout(TransportContract):
    @asynccontextmanager
    async def stand(self, directory: Path) -> AsyncIterator[Stand]:
        yield LayoutStand(directory / "layout")


@dataclass
class RegistryStand:
    registry: FakeRegistry
    host: str
    repository: str = "team/image"

    @property
    def access(self) -> Access:
        return Access(registries_conf=Path("/dev/null"))

    def source(self, tag: str) -> ImageSource:
        return open_registry_source(self.reference(tag), self.access, {}, FAST)

    def destination(self, tag: str) -> ImageDestination:
        return open_registry_destination(self.reference(tag), self.access, {}, FAST)

    def reference(self, tag: str) -> Reference:
        return Reference.parse(f"{self.host}/{self.repository}:{tag}")

    def damage(self, digest: Digest, data: bytes) -> None:
        self.registry.blobs[self.repository, digest] = data


class TestRegistry(TransportContract):
    def registry(self) -> FakeRegistry:
        return FakeRegistry()

    @asynccontextmanager
    async def _stand(self) -> AsyncIterator[Stand]:
        registry = self.registry()
        async with serve(registry) as host:
            yield RegistryStand(registry, host)

    def stand(self, directory: Path) -> AbstractAsyncContextManager[Stand]:
        return self._stand()


class TestPoorRegistry(TestRegistry):
    """No ranges, no referrers API, one tag a page."""

    def registry(self) -> FakeRegistry:
        return FakeRegistry(ranges=False, referrers_api=False, page=1)
