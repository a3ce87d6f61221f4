"""Reading from a registry that fails in every way one can."""

from __future__ import annotations

import ssl
from contextlib import aclosing
from typing import Any

import pytest

from imagefs.errors import ImagefsError
from imagefs.oci.digest import Digest
from imagefs.registry.access import Credentials
from imagefs.registry.blobs import BlobInfo, ContentError
from imagefs.registry.errors import (
    AccessDenied,
    BadResponse,
    Blocked,
    RegistryBroken,
    RegistryBusy,
    RegistryNotFound,
    Schema1Refused,
    TlsFailed,
    Unreachable,
)
from imagefs.registry.http import Http
from imagefs.registry.retry import RetryPolicy
from imagefs.testing.fake_registry import FakeRegistry, Fault, Reply, serve
from imagefs.testing.transport_contract import CONFIG, LAYER, MANIFEST_TYPE, info, manifest

from .conftest import REPOSITORY, Kit

BLOB = r"GET /v2/.*/blobs/"
MANIFEST = r"GET /v2/.*/manifests/"


async def read_layer(source: Any) -> bytes:
    async with source.open_blob(info(LAYER)) as stream:
        return b"".join([piece async for piece in stream])


@pytest.mark.parametrize("kind", ["reset", "lost"])
@pytest.mark.parametrize("pattern", [BLOB, MANIFEST])
async def test_a_broken_connection_is_tried_again(
    kit: Kit, registry: FakeRegistry, kind: Any, pattern: str
) -> None:
    registry.faults.append(Fault(pattern, kind, times=2))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert (await source.manifest())[0] == manifest()
        assert await read_layer(source) == LAYER
    assert registry.faults[0].times == 0


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(kit: Kit, registry: FakeRegistry, status: int) -> None:
    registry.faults.append(Fault(BLOB, "reply", reply=Reply(status, {"retry-after": "0"})))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert await source.blob(info(CONFIG)) == CONFIG


async def test_a_body_that_ends_early_goes_on_by_range(kit: Kit, registry: FakeRegistry) -> None:
    registry.faults += [Fault(BLOB, "cut", at=1000), Fault(BLOB, "cut", at=500)]
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert await read_layer(source) == LAYER
    ranges = [request.headers.get("range") for request in registry.asked(BLOB)]
    assert ranges == [None, f"bytes=1000-{len(LAYER) - 1}", f"bytes=1500-{len(LAYER) - 1}"]


async def test_without_ranges_a_broken_body_is_read_again(kit: Kit, registry: FakeRegistry) -> None:
    registry.ranges = False
    registry.faults.append(Fault(BLOB, "cut", at=1000))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert await read_layer(source) == LAYER
        assert not source.has_ranges


async def test_a_range_reads_nothing_else(kit: Kit, registry: FakeRegistry) -> None:
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert await source.pread(info(LAYER), 100, 50) == LAYER[100:150]
        assert source.has_ranges
    assert [r.headers["range"] for r in registry.asked(BLOB)] == ["bytes=100-149"]


@pytest.mark.parametrize("field", ["bytes 101-150/16384", "bytes 100-149/999", "nonsense"])
async def test_a_wrong_range_is_refused(kit: Kit, registry: FakeRegistry, field: str) -> None:
    reply = Reply(206, {"content-range": field}, LAYER[100:150])
    registry.faults.append(Fault(BLOB, "reply", reply=reply))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        with pytest.raises((ContentError, BadResponse)):
            await source.pread(info(LAYER), 100, 50)


async def test_giving_up_is_one_line_with_the_reason(kit: Kit, registry: FakeRegistry) -> None:
    registry.faults.append(Fault(BLOB, "reply", times=99, reply=Reply(503)))
    registry.faults.append(Fault(MANIFEST, "reply", times=99, reply=Reply(429)))
    policy = RetryPolicy(budget=0.02, base=0.001)
    async with (
        serve(registry) as host,
        aclosing(kit.source(f"{host}/{REPOSITORY}:1", policy)) as source,
    ):
        with pytest.raises(RegistryBroken, match=r"failed with status 503$"):
            await source.pread(info(LAYER), 0, 10)
        with pytest.raises(RegistryBusy, match="too many requests"):
            await source.manifest()


async def test_a_person_is_not_kept_waiting(kit: Kit, registry: FakeRegistry) -> None:
    registry.faults.append(Fault(MANIFEST, "reply", times=99, reply=Reply(503)))
    async with (
        serve(registry) as host,
        aclosing(kit.source(f"{host}/{REPOSITORY}:1", RetryPolicy(base=0.001))) as source,
    ):
        with pytest.raises(RegistryBroken):
            await source.manifest()
    assert len(registry.asked(MANIFEST)) == 4


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply(404, {}, b'{"errors":[{"code":"GONE"}]}'), RegistryNotFound, "gone"),
        (Reply(403, {}, b"<html>"), AccessDenied, "imagefs login"),
        (Reply(418), BadResponse, "418"),
        (Reply(200, {"content-type": MANIFEST_TYPE}, b"nonsense"), ContentError, "not JSON"),
        (Reply(200, {"content-type": MANIFEST_TYPE}, b"[]"), ContentError, "no JSON object"),
        (Reply(200, {}, b"{" + b" " * (4 << 20) + b"}"), ContentError, "larger"),
        (Reply(200, {"docker-content-digest": f"sha256:{'0' * 64}"}, b"{}"), ContentError, "wrong"),
        (Reply(200, {}, b'{"schemaVersion":1}'), Schema1Refused, "schema 1"),
    ],
)
async def test_bad_manifests_are_one_line(
    kit: Kit, registry: FakeRegistry, reply: Reply, error: type[ImagefsError], words: str
) -> None:
    registry.faults.append(Fault(MANIFEST, "reply", reply=reply))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        with pytest.raises(error, match=words) as caught:
            await source.manifest()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{host}/{REPOSITORY}:1")


async def test_a_blob_of_another_size_is_refused_at_once(kit: Kit, registry: FakeRegistry) -> None:
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        for size in (len(LAYER) - 1, len(LAYER) + 1):
            with pytest.raises(ContentError, match=f"has {len(LAYER)} bytes"):
                await source.blob(BlobInfo(Digest.of(LAYER), size))


async def test_redirects_go_elsewhere_without_credentials(kit: Kit, registry: FakeRegistry) -> None:
    registry.auth = "basic"
    cdn = FakeRegistry(blobs=registry.blobs)
    async with serve(registry) as host, serve(cdn):
        registry.blobs_at = cdn.base
        source = kit.source(
            f"{host}/{REPOSITORY}:1", creds=Credentials(registry.user, registry.password)
        )
        async with aclosing(source):
            assert await source.pread(info(LAYER), 0, 10) == LAYER[:10]
            assert await source.pread(info(LAYER), 10, 10) == LAYER[10:20]
            assert len(registry.asked(BLOB)) == 1  # where it led to is remembered
            cdn.faults.append(Fault("cdn", "reply", reply=Reply(403)))
            assert await source.pread(info(LAYER), 20, 10) == LAYER[20:30]
            assert len(registry.asked(BLOB)) == 2  # an expired URL is resolved again
    assert cdn.requests
    assert not any("authorization" in request.headers for request in cdn.requests)


@pytest.mark.parametrize("location", ["ftp://x/", "http://", "/v2/loop"])
async def test_bad_redirects_are_refused(kit: Kit, registry: FakeRegistry, location: str) -> None:
    reply = Reply(307, {"location": location})
    registry.faults.append(Fault(r"GET /v2/.+", "reply", reply=reply, times=99))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        with pytest.raises(BadResponse):
            await source.manifest()


@pytest.mark.parametrize("location", ["http://reg/x", "http://cdn/x"])
def test_a_redirect_never_leaves_tls(location: str) -> None:
    def no_context() -> ssl.SSLContext:
        raise AssertionError

    client = Http("reg", no_context, no_context, loopback=False)
    assert client._redirected("https://reg/v2/", "/x") == "https://reg/x"
    assert client._redirected("http://reg/v2/", location) == location
    with pytest.raises(BadResponse, match="from https to http"):
        client._redirected("https://reg/v2/", location)


async def test_mirrors_are_asked_first_and_the_registry_last(
    kit: Kit, registry: FakeRegistry
) -> None:
    mirror = FakeRegistry(blobs=dict(registry.blobs), manifests=dict(registry.manifests))
    del mirror.blobs[REPOSITORY, Digest.of(LAYER)]
    async with serve(registry) as host, serve(mirror) as mirror_host:
        kit.configure(
            f'[[registry]]\nlocation = "{host}"\n'
            f'[[registry.mirror]]\nlocation = "127.0.0.1:1"\n'
            f'[[registry.mirror]]\nlocation = "{mirror_host}"\n'
        )
        async with aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
            assert (await source.manifest())[0] == manifest()
            assert not registry.asked(MANIFEST)
            assert await source.blob(info(CONFIG)) == CONFIG
            assert not registry.asked(BLOB)
            assert await read_layer(source) == LAYER  # the mirror lacks it
            assert registry.asked(BLOB)
            assert source.name == f"docker://{host}/{REPOSITORY}:1"


async def test_mirrors_are_not_shown_the_registrys_credentials(
    kit: Kit, registry: FakeRegistry
) -> None:
    registry.auth = "basic"
    mirror = FakeRegistry(auth="basic", manifests=dict(registry.manifests))
    async with serve(registry) as host, serve(mirror) as mirror_host:
        kit.configure(
            f'[[registry]]\nlocation = "{host}"\n[[registry.mirror]]\nlocation = "{mirror_host}"\n'
        )
        creds = Credentials(registry.user, registry.password)
        async with aclosing(kit.source(f"{host}/{REPOSITORY}:1", creds=creds)) as source:
            assert (await source.manifest())[0] == manifest()
    assert registry.asked(MANIFEST)
    assert mirror.asked("GET /v2/")
    assert not any("authorization" in request.headers for request in mirror.requests)


async def test_a_short_name_is_searched(kit: Kit, registry: FakeRegistry) -> None:
    empty = FakeRegistry()
    async with serve(registry) as host, serve(empty) as other:
        kit.configure(f'unqualified-search-registries = ["{other}", "{host}"]')
        async with aclosing(kit.source("team/app:1")) as source:
            assert (await source.manifest())[0] == manifest()
            assert source.name == f"docker://{host}/team/app:1"
        async with aclosing(kit.source("team/none:1")) as source:
            with pytest.raises(RegistryNotFound, match=f"{host}.*tried before: {other}"):
                await source.manifest()


async def test_a_blocked_registry_is_not_asked(kit: Kit, registry: FakeRegistry) -> None:
    async with serve(registry) as host:
        kit.configure(f'[[registry]]\nlocation = "{host}"\nblocked = true')
        with pytest.raises(Blocked):
            kit.source(f"{host}/{REPOSITORY}:1")
    assert registry.requests == []


async def test_plain_http_is_for_loopback_unless_tls_was_asked_for(
    kit: Kit, registry: FakeRegistry
) -> None:
    async with serve(registry) as host:
        name = f"{host}/{REPOSITORY}:1"
        async with aclosing(kit.source(name, tls_verify=True)) as source:
            with pytest.raises(TlsFailed, match="--tls-verify=false"):
                await source.manifest()
        assert registry.requests == []
        async with aclosing(kit.source(name, tls_verify=False)) as source:
            assert (await source.manifest())[0] == manifest()


async def test_nobody_there_is_said_at_once(kit: Kit) -> None:
    async with aclosing(kit.source("127.0.0.1:1/a/b:1")) as source:
        with pytest.raises(Unreachable, match="connection refused"):
            await source.manifest()


async def test_tags_come_in_pages_and_never_for_ever(kit: Kit, registry: FakeRegistry) -> None:
    for tag in "234567":
        registry.manifests[REPOSITORY, tag] = registry.manifests[REPOSITORY, "1"]
    registry.page = 3
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert await source.tags() == list("1234567")
        loop = Reply(200, {"link": "</v2/team/app/tags/list?n=1000>; rel=next"}, b'{"tags":[]}')
        registry.faults.append(Fault("tags", "reply", reply=loop, times=99))
        with pytest.raises(BadResponse, match="never end"):
            await source.tags()
