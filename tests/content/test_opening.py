"""Which credentials go where: those of the command line to the image's own registry only."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagefs.content import opening
from imagefs.content.opening import open_places
from imagefs.oci.digest import Digest
from imagefs.registry.access import Credentials
from imagefs.registry.blobs import BlobInfo
from imagefs.store import Store
from imagefs.testing.transports import MemoryRegistry
from imagefs.transport import Access, ImageName, ImageSource

BLOB = b"blob"
REF = BlobInfo(Digest.of(BLOB), len(BLOB))


@pytest.mark.parametrize(
    ("place", "home", "shown"),
    [
        ("docker://reg.example/base:1", "reg.example/app:1", True),
        ("docker://reg.example/base:1", "docker://reg.example/app:1", True),
        ("docker://other.example/base:1", "reg.example/app:1", False),
        ("oci:/layout", "reg.example/app:1", False),
        ("docker://reg.example/base:1", "reg.example.evil/app:1", False),
    ],
)
async def test_credentials_are_shown_to_the_registry_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, home: str, shown: bool
) -> None:
    registry = MemoryRegistry()
    registry.blobs[REF.digest] = BLOB
    seen: list[Credentials | None] = []

    def open_memory(name: ImageName, access: Access) -> ImageSource:
        seen.append(access.creds)
        return registry.source(str(name))

    monkeypatch.setattr(opening, "open_source", open_memory)
    store = Store.open(tmp_path / "root", tmp_path / "run")
    store.locations.add(REF.digest, place)
    secret = Credentials("user", "secret")
    async with open_places(store, Access(creds=secret), home) as places:
        assert await places.of(REF.digest).pread(REF, 0, 4) == BLOB
    assert seen == [secret if shown else None]
