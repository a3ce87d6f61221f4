"""Registries and layouts that take no image: nothing of it is to be seen there afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.hostile import BLOB, HostileRegistry, digest_of
from harness.refusals import Refusals
from harness.registry import Registry, free_port

from imagefs.testing.fake_registry import Fault, Reply

ALWAYS = 1 << 30
_DENIED = b'{"errors": [{"code": "DENIED", "message": "this one is read-only"}]}'


def reply(pattern: str, status: int, body: bytes = b"", **headers: str) -> Fault:
    return Fault(pattern, "reply", reply=Reply(status, headers, body), times=ALWAYS)


FAULTS: dict[str, tuple[Fault, list[str]]] = {
    "405 for uploads": (reply("POST .*/uploads/", 405), ["status 405"]),
    "denied": (reply("POST .*/uploads/", 403, _DENIED), ["not allowed", "read-only", "login"]),
    "401 for uploads": (reply("POST .*/uploads/", 401), ["127.0.0.1"]),
    "429 for uploads": (reply("POST .*/uploads/", 429), ["too many requests", "try again"]),
    "413 for a blob": (reply("(PUT|PATCH) .*/uploads/", 413), ["status 413"]),
    "500 for a blob": (reply("(PUT|PATCH) .*/uploads/", 500), ["status 500"]),
    "gone at a blob": (
        Fault("(PUT|PATCH) .*/uploads/", "reset", times=ALWAYS),
        ["127.0.0.1", "connection"],
    ),
    "no place for uploads": (reply("POST .*/uploads/", 202), ["upload"]),
    "manifest refused": (
        reply("PUT .*/manifests/", 400, b'{"errors": [{"code": "MANIFEST_INVALID"}]}'),
        ["manifest", "status 400", "manifest_invalid"],
    ),
    "gone at the manifest": (
        Fault("PUT .*/manifests/", "reset", times=ALWAYS),
        ["127.0.0.1", "connection"],
    ),
}


@pytest.fixture
def pulled(hostile: HostileRegistry, refused: Refusals) -> str:
    """An image in the store, whole."""
    name = hostile.image()
    refused.cli("pull", "-q", name)
    return name


@pytest.mark.parametrize("case", FAULTS)
def test_registry_that_refuses(
    case: str, pulled: str, hostile: HostileRegistry, refused: Refusals
) -> None:
    fault, says = FAULTS[case]
    with HostileRegistry() as other:
        other.registry.faults.append(fault)
        refused("push", "-q", pulled, f"docker://{other.host}/new:1", says=says)
        assert other.registry.manifests == {}


def test_registry_that_is_gone(pulled: str, refused: Refusals) -> None:
    nowhere = f"docker://127.0.0.1:{free_port()}/new:1"
    refused("push", "-q", pulled, nowhere, says=["connection refused"])


def test_real_registry_without_a_login(
    pulled: str, auth_registry: Registry, refused: Refusals
) -> None:
    where = f"docker://{auth_registry.host}/new:1"
    login = f"imagefs login {auth_registry.host}"
    refused("push", "-q", pulled, where, says=["authentication required", login])
    refused("push", "-q", "--creds=tester:no", pulled, where, says=["refused", login])


def test_layer_that_is_nowhere_any_more(
    pulled: str, hostile: HostileRegistry, refused: Refusals
) -> None:
    """Its content was dropped here, and its registry lost it: the line names it."""
    refused.cli("system", "gc", "--content")
    hostile.registry.blobs.clear()
    with HostileRegistry() as other:
        says = ["can't push", digest_of(BLOB), "not whole in the store"]
        refused("push", "-q", pulled, f"docker://{other.host}/new:1", says=says)
        assert other.registry.manifests == {}


def test_level_that_there_is_not(pulled: str, refused: Refusals) -> None:
    with HostileRegistry() as other:
        where = f"docker://{other.host}/new:1"
        refused("push", "-q", "--compression-level=99", pulled, where, says=["99", "gzip has"])
        assert other.registry.requests == []


def test_layouts_that_are_none(pulled: str, refused: Refusals) -> None:
    file = refused.cli.directory / "file"
    file.write_bytes(b"precious")
    refused("push", "-q", pulled, f"oci:{file}:1", says=[str(file)])
    refused("push", "-q", pulled, f"oci:{file}/below:1", says=[str(file)])
    assert file.read_bytes() == b"precious"
    home = refused.cli.directory / "home"
    home.mkdir()
    (home / "index.json").write_text("{")
    (home / "oci-layout").write_text('{"imageLayoutVersion": "9.0.0"}')
    refused("push", "-q", pulled, f"oci:{home}:1", says=[str(home), "9.0.0"])
    assert (home / "index.json").read_text() == "{"


def test_image_without_a_name(pulled: str, refused: Refusals) -> None:
    image = refused.cli("images", "-q").stdout.strip()
    place = refused.cli.mountpoint("here")
    refused.cli("mount", "-q", "--read-only", pulled, place)  # keeps it when its name goes
    refused.cli("rmi", "-f", pulled)
    refused("push", "-q", image, says=["no name", "say where"])
    assert Path(place).is_mount()
