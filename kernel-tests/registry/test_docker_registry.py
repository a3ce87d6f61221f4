"""The client against Debian's docker-registry, with skopeo as the other reader and writer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.proxy import CountingProxy, Fault
from harness.registry import PASSWORD, USER, Registry

from imagefs.errors import NotFoundError
from imagefs.oci.digest import Digest
from imagefs.oci.reference import Reference
from imagefs.registry.access import Access, Credentials
from imagefs.registry.destination import RegistryDestination
from imagefs.registry.errors import AccessDenied, TlsFailed, Unreachable
from imagefs.registry.login import NotLoggedIn, login, logout
from imagefs.registry.opening import open_registry_destination, open_registry_source
from imagefs.registry.retry import RetryPolicy
from imagefs.registry.source import RegistrySource
from imagefs.testing.oci_layout import Layout
from imagefs.testing.transport_contract import (
    CONFIG,
    LAYER,
    MANIFEST_TYPE,
    info,
    manifest,
    pieces,
    push,
)
from imagefs.transport import open_destination, open_source, parse_image_name

FAST = RetryPolicy(budget=20, base=0.01, cap=0.2)
BIG = os.urandom(3 << 20)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "CONTAINERS_REGISTRIES_CONF": "/dev/null"}


def source(name: str, env: dict[str, str], **options: Any) -> RegistrySource:
    return open_registry_source(Reference.parse(name), Access(**options), env, FAST)


def destination(name: str, env: dict[str, str], **options: Any) -> RegistryDestination:
    return open_registry_destination(Reference.parse(name), Access(**options), env, FAST)


def skopeo(*arguments: str) -> bytes:
    command = ["skopeo", "--insecure-policy", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120).stdout


async def test_a_real_image_goes_from_the_registry_to_a_layout_and_back(
    registry: Registry, busybox_image: Layout, env: dict[str, str], tmp_path: Path
) -> None:
    pushed = registry.push(busybox_image, "client/busybox:1")
    layout = f"oci:{tmp_path}/layout:copy"
    async with (
        aclosing(source(pushed, env)) as start,
        aclosing(open_destination(parse_image_name(layout), Access())) as middle,
    ):
        await copy(start, middle)
    assert skopeo("inspect", "--raw", layout) == skopeo(
        "inspect", "--raw", "--tls-verify=false", f"docker://{pushed}"
    )
    back = f"{registry.host}/client/back:2"
    async with (
        aclosing(open_source(parse_image_name(layout), Access())) as middle_again,
        aclosing(destination(back, env)) as end,
    ):
        await copy(middle_again, end)
    # skopeo verifies every blob on the way.
    skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{back}", f"dir:{tmp_path}/dir")


async def copy(start: Any, end: Any) -> None:
    raw, media_type = await start.manifest()
    document = json.loads(raw)
    for descriptor in (document["config"], *document["layers"]):
        blob = info(b"")._replace(
            digest=Digest.parse(descriptor["digest"]), size=descriptor["size"]
        )
        async with start.open_blob(blob) as stream:
            await end.put_blob(stream, blob)
    await end.put_manifest(raw, media_type)
    await end.commit()


async def test_the_user_and_the_password_are_asked_for(
    auth_registry: Registry, env: dict[str, str]
) -> None:
    name = f"{auth_registry.host}/client/auth:1"
    good = Credentials(USER, PASSWORD)
    raw = await push(destination(name, env, creds=good))
    async with aclosing(source(name, env, creds=good)) as image:
        assert (await image.manifest())[0] == raw
        assert await image.blob(info(LAYER)) == LAYER
    for creds in (None, Credentials(USER, "wrong word")):
        async with aclosing(source(name, env, creds=creds)) as image:
            with pytest.raises(AccessDenied, match="imagefs login") as caught:
                await image.manifest()
            assert "wrong word" not in str(caught.value)


async def test_logins_are_shared_with_skopeo(
    auth_registry: Registry, env: dict[str, str], tmp_path: Path
) -> None:
    host, ours, theirs = auth_registry.host, tmp_path / "ours.json", tmp_path / "theirs.json"
    name = f"{host}/client/shared:1"
    access = Access(authfile=ours)
    with pytest.raises(AccessDenied):
        await login(host, Credentials(USER, "wrong"), access, env)
    assert not ours.exists()
    await login(host, Credentials(USER, PASSWORD), access, env)
    raw = await push(destination(name, env, authfile=ours))
    read = skopeo(
        "inspect", "--raw", "--tls-verify=false", f"--authfile={ours}", f"docker://{name}"
    )
    assert read == raw
    skopeo("login", "--tls-verify=false", f"--authfile={theirs}", "-u", USER, "-p", PASSWORD, host)
    async with aclosing(source(name, env, authfile=theirs)) as image:
        assert (await image.manifest())[0] == raw
    await logout(host, access, env)
    with pytest.raises(NotLoggedIn):
        await logout(host, access, env)


async def test_certificates_are_verified(
    tls_registry: Registry,
    certificates: tuple[Path, Path, Path],
    env: dict[str, str],
    tmp_path: Path,
) -> None:
    name = f"{tls_registry.host}/client/tls:1"
    async with aclosing(source(name, env)) as image:
        with pytest.raises(TlsFailed, match=r"certs\.d.*--tls-verify=false"):
            await image.manifest()
    raw = await push(destination(name, env, tls_verify=False))
    (tmp_path / "given").mkdir()
    (tmp_path / "given/ca.crt").write_bytes(certificates[0].read_bytes())
    async with aclosing(source(name, env, cert_dir=tmp_path / "given")) as image:
        assert (await image.manifest())[0] == raw
    found = Path(env["HOME"]) / ".config/containers/certs.d" / tls_registry.host
    found.mkdir(parents=True)
    (found / "ca.crt").write_bytes(certificates[0].read_bytes())
    async with aclosing(source(name, env, tls_verify=True)) as image:
        assert (await image.manifest())[0] == raw


async def test_an_upload_goes_on_after_a_bad_gateway(
    registry: Registry, counting_proxy: CountingProxy, env: dict[str, str]
) -> None:
    place = destination(f"{counting_proxy.host}/client/chunks:1", env)._place
    counting_proxy.inject(Fault(method="PATCH", times=2, status=502))
    async with aclosing(RegistryDestination(place, chunk=1 << 20)) as to:
        assert await to.put_blob(pieces(BIG, 1 << 16), info(BIG)) == info(BIG)
    assert counting_proxy.exchanges("GET", "/blobs/uploads/")
    async with aclosing(source(f"{registry.host}/client/chunks:1", env)) as image:
        assert await image.blob(info(BIG)) == BIG


async def test_a_mounted_blob_is_not_sent(
    registry: Registry, counting_proxy: CountingProxy, env: dict[str, str]
) -> None:
    async with aclosing(destination(f"{registry.host}/client/one:1", env)) as to:
        await to.put_blob(pieces(BIG), info(BIG))
    async with aclosing(destination(f"{counting_proxy.host}/client/two:1", env)) as to:
        assert await to.mount_blob(info(BIG), f"docker://{counting_proxy.host}/client/one:1")
        assert await to.has_blob(info(BIG))
        assert not await to.mount_blob(info(b"no"), f"docker://{counting_proxy.host}/client/one:1")
    assert counting_proxy.bytes_sent() == 0


async def test_a_range_costs_its_bytes(
    registry: Registry, counting_proxy: CountingProxy, env: dict[str, str]
) -> None:
    async with aclosing(destination(f"{registry.host}/client/ranges:1", env)) as to:
        await to.put_blob(pieces(BIG), info(BIG))
    async with aclosing(source(f"{counting_proxy.host}/client/ranges:1", env)) as image:
        for offset, length in ((0, 1), (12345, 70000), (len(BIG) - 5, 5)):
            assert await image.pread(info(BIG), offset, length) == BIG[offset : offset + length]
        with pytest.raises(NotFoundError):  # by then the proxy has counted what came before
            await image.manifest()
        assert counting_proxy.bytes_fetched("/blobs/") == 70006
        assert image.has_ranges


async def test_a_blob_that_breaks_off_or_lies(
    registry: Registry, counting_proxy: CountingProxy, env: dict[str, str]
) -> None:
    async with aclosing(destination(f"{registry.host}/client/broken:1", env)) as to:
        await to.put_blob(pieces(BIG), info(BIG))
    async with aclosing(source(f"{counting_proxy.host}/client/broken:1", env)) as image:
        counting_proxy.inject(Fault(path="/blobs/", times=3, drop_after=500_000))
        assert await image.blob(info(BIG)) == BIG
        with pytest.raises(NotFoundError):  # by then the proxy has counted what came before
            await image.manifest()
        assert counting_proxy.bytes_fetched("/blobs/") == len(BIG)
        counting_proxy.inject(Fault(path="/blobs/", times=1, flip=77))
        with pytest.raises(Exception, match="wrong content"):
            await image.blob(info(BIG))


async def test_a_registry_that_comes_back_is_waited_for(
    own_registry: Registry, env: dict[str, str]
) -> None:
    name = f"{own_registry.host}/client/gone:1"
    await push(destination(name, env))
    async with aclosing(source(name, env)) as image:
        await image.manifest()
        own_registry.stop()
        with pytest.raises(Unreachable, match="connection refused"):
            await impatient(name, env)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, own_registry.start)
            assert await image.pread(info(LAYER), 10, 20) == LAYER[10:30]


async def impatient(name: str, env: dict[str, str]) -> None:
    """A read with a budget that is over at once."""
    policy = RetryPolicy(budget=0.05, base=0.01)
    async with aclosing(open_registry_source(Reference.parse(name), Access(), env, policy)) as gone:
        await gone.pread(info(LAYER), 0, 1)


async def test_tags_deletion_and_referrers(own_registry: Registry, env: dict[str, str]) -> None:
    name = f"{own_registry.host}/client/many"
    for number in range(5):
        raw = await push(destination(f"{name}:t{number}", env), b"layer %d" % number)
    async with aclosing(source(f"{name}:t4", env)) as image:
        assert await image.tags() == [f"t{number}" for number in range(5)]
        subject = {"mediaType": MANIFEST_TYPE, "digest": str(Digest.of(raw)), "size": len(raw)}
        async with aclosing(destination(f"{name}:signature", env)) as to:
            await to.put_blob(pieces(CONFIG), info(CONFIG))
            await to.put_blob(pieces(LAYER), info(LAYER))
            await to.put_manifest(manifest(subject=subject), MANIFEST_TYPE)
            await to.commit()
            found = await image.referrers(Digest.of(raw))
            assert [e["digest"] for e in found] == [str(Digest.of(manifest(subject=subject)))]
            await to.delete(Digest.of(raw))
        with pytest.raises(NotFoundError):
            await image.manifest()


async def test_what_is_not_there_is_one_line(registry: Registry, env: dict[str, str]) -> None:
    async with aclosing(source(f"{registry.host}/client/none:1", env)) as image:
        with pytest.raises(NotFoundError, match="not found") as caught:
            await image.manifest()
    assert "\n" not in str(caught.value)


async def test_a_cancelled_push_leaves_no_upload(
    own_registry: Registry, env: dict[str, str]
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield BIG
        yield BIG
        scope.cancel()
        await trio.lowlevel.checkpoint()

    place = destination(f"{own_registry.host}/client/cancelled:1", env)._place
    with trio.CancelScope() as scope:
        async with aclosing(RegistryDestination(place, chunk=1 << 20)) as to:
            await to.put_blob(endless(), None)
    assert scope.cancelled_caught
    assert not list(own_registry.directory.glob("storage/**/_uploads/*/data"))


async def test_parallel_ranges_share_connections(registry: Registry, env: dict[str, str]) -> None:
    async with aclosing(destination(f"{registry.host}/client/parallel:1", env)) as to:
        await to.put_blob(pieces(BIG), info(BIG))
    got: dict[int, bytes] = {}
    async with aclosing(source(f"{registry.host}/client/parallel:1", env)) as image:

        async def read(offset: int) -> None:
            got[offset] = await image.pread(info(BIG), offset, 1 << 16)

        async with trio.open_nursery() as nursery:
            for offset in range(0, len(BIG), 1 << 16):
                nursery.start_soon(read, offset)
    assert b"".join(got[offset] for offset in sorted(got)) == BIG
