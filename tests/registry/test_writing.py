"""Pushing to a registry that fails half-way."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from imagefs.errors import NotFoundError
from imagefs.oci.digest import Digest
from imagefs.registry.access import Credentials
from imagefs.registry.blobs import ContentError
from imagefs.registry.destination import RegistryDestination
from imagefs.registry.errors import BadResponse
from imagefs.testing.fake_registry import FakeRegistry, Fault, Reply, serve
from imagefs.testing.transport_contract import LAYER, MANIFEST_TYPE, info, manifest, pieces

from .conftest import REPOSITORY, Kit


def in_chunks(kit: Kit, host: str, chunk: int) -> RegistryDestination:
    made = kit.destination(f"{host}/new/app:1")
    return RegistryDestination(made._place, chunk)


async def test_a_small_blob_is_two_requests(kit: Kit) -> None:
    registry = FakeRegistry()
    async with serve(registry) as host, aclosing(kit.destination(f"{host}/new/app:1")) as to:
        await to.put_blob(pieces(LAYER), None)
    methods = [request.method for request in registry.asked("uploads")]
    assert methods == ["POST", "PUT"]


async def test_a_large_blob_goes_in_chunks(kit: Kit) -> None:
    registry = FakeRegistry()
    async with serve(registry) as host, aclosing(in_chunks(kit, host, 5000)) as to:
        assert await to.put_blob(pieces(LAYER), None) == info(LAYER)
    assert registry.blobs["new/app", Digest.of(LAYER)] == LAYER
    assert [len(request.body) for request in registry.asked("PATCH")] == [5000, 5000, 5000, 1384]


@pytest.mark.parametrize("kind", ["reset", "lost", "half"])
@pytest.mark.parametrize("nth", [1, 2, 4])
async def test_an_upload_goes_on_where_the_registry_is(kit: Kit, kind: Any, nth: int) -> None:
    registry = FakeRegistry()
    async with serve(registry) as host, aclosing(in_chunks(kit, host, 5000)) as to:

        async def breaking() -> Any:
            async for piece in pieces(LAYER, 5000):
                if len(registry.asked("PATCH")) == max(0, nth - 2):
                    registry.faults[:] = [Fault("PATCH", kind, at=700)]
                yield piece

        assert await to.put_blob(breaking(), info(LAYER)) == info(LAYER)
    assert registry.blobs["new/app", Digest.of(LAYER)] == LAYER
    assert registry.asked(r"GET /v2/new/app/blobs/uploads/")


@pytest.mark.parametrize("kind", ["reset", "lost", "half"])
@pytest.mark.parametrize("chunk", [5000, 1 << 20])
async def test_an_end_that_broke_is_done_once(kit: Kit, kind: Any, chunk: int) -> None:
    registry = FakeRegistry()
    registry.faults.append(Fault("PUT", kind, at=700))
    async with serve(registry) as host, aclosing(in_chunks(kit, host, chunk)) as to:
        assert await to.put_blob(pieces(LAYER), info(LAYER)) == info(LAYER)
    assert registry.blobs["new/app", Digest.of(LAYER)] == LAYER
    assert registry.uploads == {}


async def test_a_token_may_expire_during_an_upload(kit: Kit) -> None:
    registry = FakeRegistry(auth="bearer")
    creds = Credentials(registry.user, registry.password)
    async with serve(registry) as host:
        place = kit.destination(f"{host}/new/app:1", creds=creds)._place
        async with aclosing(RegistryDestination(place, 5000)) as to:

            async def expiring() -> Any:
                async for piece in pieces(LAYER, 5000):
                    registry.tokens.clear()
                    yield piece

            assert await to.put_blob(expiring(), info(LAYER)) == info(LAYER)


async def test_a_lost_upload_says_so_and_is_dropped(kit: Kit) -> None:
    registry = FakeRegistry()
    registry.faults += [
        Fault("PATCH", "reset"),
        Fault("GET .*uploads", "reply", reply=Reply(204, {"range": "0-99999"})),
    ]
    async with serve(registry) as host, aclosing(in_chunks(kit, host, 5000)) as to:
        async with aclosing(pieces(LAYER)) as sent:
            with pytest.raises(BadResponse, match="lost the upload"):
                await to.put_blob(sent, info(LAYER))
        assert registry.uploads == {}


async def test_a_wrong_blob_leaves_no_upload(kit: Kit) -> None:
    registry = FakeRegistry()
    async with serve(registry) as host, aclosing(kit.destination(f"{host}/new/app:1")) as to:
        with pytest.raises(ContentError):
            await to.put_blob(pieces(b"other"), info(LAYER))
        assert registry.uploads == {}
        assert registry.blobs == {}


async def test_a_blob_is_mounted_from_another_repository(kit: Kit, registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    async with serve(registry) as host:
        creds = Credentials.parse(f"{registry.user}:{registry.password}")
        to = kit.destination(f"{host}/new/app:1", creds=creds)
        async with aclosing(to):
            source = f"docker://{host}/{REPOSITORY}:1"
            assert await to.mount_blob(info(LAYER), source)
            assert registry.blobs["new/app", Digest.of(LAYER)] == LAYER
            assert not registry.asked("PUT")
            assert not await to.mount_blob(info(b"missing"), source)
            assert not await to.mount_blob(info(LAYER), f"docker://127.0.0.1:1/{REPOSITORY}:1")
            assert not await to.mount_blob(info(LAYER), "oci:/dir:tag")
    assert registry.uploads == {}
    scopes = [scope for scopes in registry.tokens.values() for scope in scopes]
    assert f"repository:{REPOSITORY}:pull" in scopes


async def test_an_upload_opened_by_a_failed_mount_is_used(kit: Kit, registry: FakeRegistry) -> None:
    registry.mounts = False
    async with serve(registry) as host, aclosing(kit.destination(f"{host}/new/app:1")) as to:
        assert not await to.mount_blob(info(LAYER), f"docker://{host}/{REPOSITORY}:1")
        await to.put_blob(pieces(LAYER), info(LAYER))
    assert len(registry.asked("POST")) == 1
    assert registry.uploads == {}


async def test_the_name_is_set_last(kit: Kit) -> None:
    registry = FakeRegistry()
    async with serve(registry) as host, aclosing(kit.destination(f"{host}/new/app:1")) as to:
        child = manifest()
        await to.put_manifest(child, MANIFEST_TYPE, Digest.of(child))
        await to.put_manifest(manifest(b"x"), MANIFEST_TYPE)
        assert ("new/app", "1") not in registry.manifests
        await to.commit()
        assert registry.manifests["new/app", "1"][0] == manifest(b"x")
        await to.delete(Digest.of(child))
        with pytest.raises(NotFoundError):
            await to.delete(Digest.of(child))


async def test_referrers_are_listed_under_a_tag_where_there_is_no_api(kit: Kit) -> None:
    registry = FakeRegistry(referrers_api=False)
    subject = {"digest": f"sha256:{'5' * 64}", "size": 5, "mediaType": MANIFEST_TYPE}
    async with serve(registry) as host:
        for tag in ("1", "2", "1"):
            async with aclosing(kit.destination(f"{host}/new/app:{tag}")) as to:
                raw = manifest(subject=subject, annotations={"n": tag})
                await to.put_manifest(raw, MANIFEST_TYPE)
                await to.commit()
        async with aclosing(kit.source(f"{host}/new/app:1")) as source:
            found = await source.referrers(Digest.parse(str(subject["digest"])))
    assert [entry["annotations"] for entry in found] == [{"n": "2"}, {"n": "1"}]
