"""What a registry may do instead of giving an image: say no, fail, go away, lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.command import Cli
from harness.hostile import BLOB, LAYER, TAR, HostileRegistry, digest_of
from harness.refusals import Refusals
from harness.registry import Registry, free_port

from imagefs.testing.fake_registry import Fault, Reply

#: How each goes wrong, and what the line says. The image itself is good.
ALWAYS = 1 << 30
_MANIFEST, _BLOB = "GET .*/manifests/", f"GET .*/blobs/{digest_of(BLOB)}"


def fails_with(pattern: str, status: int, **headers: str) -> Fault:
    reply = Reply(status, {key.replace("_", "-"): value for key, value in headers.items()})
    return Fault(pattern, "reply", reply=reply, times=ALWAYS)


FAULTS: dict[str, tuple[Fault, list[str]]] = {
    "401 for the manifest": (
        fails_with(_MANIFEST, 401, www_authenticate='Basic realm="x"'),
        ["bad:1: authentication required", "log in with: imagefs login 127.0.0.1:"],
    ),
    "403 for the manifest": (
        fails_with(_MANIFEST, 403),
        ["bad:1: not allowed", "imagefs login 127.0.0.1:"],
    ),
    "403 for a layer": (fails_with(_BLOB, 403), [digest_of(BLOB), "not allowed", "imagefs login"]),
    "429 with Retry-After": (
        fails_with(_MANIFEST, 429, retry_after="60"),
        ["bad:1: ", "too many requests", "try again in 60 s"],
    ),
    "429 without Retry-After": (
        fails_with(_MANIFEST, 429),
        ["bad:1: ", "too many requests", "try again later"],
    ),
    "500 for the manifest": (fails_with(_MANIFEST, 500), ["bad:1: ", "failed with status 500"]),
    "503 for a layer": (fails_with(_BLOB, 503), [digest_of(BLOB), "failed with status 503"]),
    "404 for a layer": (fails_with(_BLOB, 404), [digest_of(BLOB), "not found"]),
    "418 for the manifest": (fails_with(_MANIFEST, 418), ["bad:1: ", "answered with status 418"]),
    # It hangs up on TLS and on plain HTTP alike: the first is what is told.
    "gone at the ping": (Fault("GET /v2/$", "reset", times=ALWAYS), ["127.0.0.1:", "TLS failed"]),
    "gone at the manifest": (
        Fault(_MANIFEST, "reset", times=ALWAYS),
        ["127.0.0.1:", "connection"],
    ),
    "gone at the start of a layer": (
        Fault(_BLOB, "reset", times=ALWAYS),
        ["127.0.0.1:", "connection"],
    ),
    "gone in the middle of a layer": (
        Fault(_BLOB, "cut", at=100_000, times=ALWAYS),
        ["127.0.0.1:", "connection", "bytes of sha256:"],
    ),
    "gone in the middle of the manifest": (
        Fault(_MANIFEST, "cut", at=100, times=ALWAYS),
        ["127.0.0.1:", "connection"],
    ),
    "a manifest that is not the one of its digest": (
        Fault(
            _MANIFEST,
            "reply",
            reply=Reply(200, {"docker-content-digest": digest_of(b"")}, b"{}"),
            times=ALWAYS,
        ),
        ["bad:1: manifest sha256:", "has wrong content"],
    ),
    "a page of HTML for the manifest": (
        Fault(
            _MANIFEST,
            "reply",
            reply=Reply(200, {"content-type": "text/html"}, b"<html>Welcome</html>"),
            times=ALWAYS,
        ),
        ["bad:1: the manifest is not JSON"],
    ),
    "redirects for ever": (
        fails_with(_BLOB, 307, location=f"/v2/bad/blobs/{digest_of(BLOB)}"),
        ["127.0.0.1:", "redirects"],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_registry(case: str, hostile: HostileRegistry, refused: Refusals) -> None:
    """`mount` does all that `pull` does, and has a keeper waiting meanwhile."""
    fault, says = FAULTS[case]
    name = hostile.image()
    hostile.registry.faults.append(fault)
    refused("mount", "--quiet", name, refused.cli.mountpoint("here"), says=says)


@pytest.mark.parametrize("verb", ["pull", "cp", "run"])
def test_faulty_registry_for_other_verbs(
    verb: str, hostile: HostileRegistry, refused: Refusals
) -> None:
    fault, says = FAULTS["gone in the middle of a layer"]
    name = hostile.image()
    hostile.registry.faults.append(fault)
    target = refused.cli.directory / "hello"
    rest: dict[str, list[str | Path]] = {
        "pull": [name],
        "cp": [f"{name}:/hello", target],
        "run": ["--rm", name, "/x"],
    }
    refused(verb, "--quiet", *rest[verb], says=says)
    assert not target.exists()


def test_config_that_breaks_off(hostile: HostileRegistry, refused: Refusals) -> None:
    config = hostile.config([digest_of(TAR)])
    name = hostile.image(config=config)
    fault = Fault(rf"GET .*/{config['digest']}", "cut", at=20, times=ALWAYS)
    hostile.registry.faults.append(fault)
    refused("pull", "-q", name, says=["127.0.0.1:", "connection", config["digest"]])


def test_registry_that_comes_back_is_no_failure(hostile: HostileRegistry, run_cli: Cli) -> None:
    """The cases above fail for good: the same faults, once each, are got over."""
    name = hostile.image()
    hostile.registry.faults += [
        Fault(_MANIFEST, "reset"),
        Fault(_BLOB, "cut", at=100_000),
        Fault(_BLOB, "reply", reply=Reply(503)),
    ]
    run_cli("pull", "-q", name)
    assert run_cli("system", "fsck").stdout == ""


LIES: dict[str, tuple[Callable[[HostileRegistry], object], list[str]]] = {
    "layer with another content": (
        lambda r: r.image([r.blob(BLOB), _served_for(r, BLOB[::-1], digest_of(b"other"))][1:]),
        ["has wrong content"],
    ),
    "layer shorter than its descriptor says": (
        lambda r: r.image([r.blob(BLOB, size=len(BLOB) + 1)]),
        [f"has {len(BLOB)} bytes, its descriptor says {len(BLOB) + 1}"],
    ),
    "layer longer than its descriptor says": (
        lambda r: r.image([r.blob(BLOB, size=len(BLOB) - 1)]),
        [f"has {len(BLOB)} bytes, its descriptor says {len(BLOB) - 1}"],
    ),
    "config with another content": (
        lambda r: r.image(config=_served_for(r, b"{}", digest_of(b"no"))),
        ["has wrong content"],
    ),
    "config of a gigabyte": (
        lambda r: r.image(config={**r.config([digest_of(TAR)]), "size": 1 << 30}),
        ["larger than"],
    ),
}


def _served_for(registry: HostileRegistry, data: bytes, digest: str) -> dict[str, object]:
    """A descriptor whose blob the registry takes for another."""
    from imagefs.oci.digest import Digest

    registry.registry.blobs["bad", Digest.parse(digest)] = data
    return {"mediaType": LAYER, "digest": digest, "size": len(data)}


@pytest.mark.parametrize("case", LIES)
def test_lying_registry(case: str, hostile: HostileRegistry, refused: Refusals) -> None:
    prepare, says = LIES[case]
    prepare(hostile)
    refused("mount", "-q", hostile.name(), refused.cli.mountpoint("here"), says=says)


def test_unknown_tag_and_repository(hostile: HostileRegistry, refused: Refusals) -> None:
    hostile.image()
    refused("pull", "-q", hostile.name("nope"), says=["bad:nope: not found"])
    refused("pull", "-q", f"{hostile.host}/none:1", says=["none:1: not found"])


def test_nobody_listens(refused: Refusals) -> None:
    refused(
        "pull", "-q", f"127.0.0.1:{free_port()}/x", says=["connection refused", "registry running"]
    )


def test_real_registry_asks_for_a_login(auth_registry: Registry, refused: Refusals) -> None:
    name = f"{auth_registry.host}/private/image"
    refused(
        "pull", "-q", name, says=["authentication required", f"imagefs login {auth_registry.host}"]
    )
    refused(
        "pull",
        "-q",
        "--creds=tester:wrong",
        name,
        says=["refused", f"imagefs login {auth_registry.host}"],
    )


def test_token_server_says_no(hostile: HostileRegistry, refused: Refusals) -> None:
    hostile.image()
    hostile.registry.auth = "bearer"
    refused("pull", "-q", hostile.name(), says=["authentication required", "imagefs login"])
    refused(
        "pull",
        "-q",
        "--creds=anna:wrong",
        hostile.name(),
        says=["password was refused", "imagefs login"],
    )


def test_token_server_is_gone(hostile: HostileRegistry, refused: Refusals) -> None:
    hostile.image()
    hostile.registry.auth = "bearer"
    hostile.registry.faults.append(Fault("GET /token", "reset", times=ALWAYS))
    refused("pull", "-q", hostile.name(), says=["connection"])


def test_certificate_of_nobody(tls_registry: Registry, refused: Refusals) -> None:
    name = f"{tls_registry.host}/x"
    refused("pull", "-q", "--tls-verify", name, says=["certificate is not trusted", "certs.d"])


def test_plain_http_where_tls_was_demanded(hostile: HostileRegistry, refused: Refusals) -> None:
    hostile.image()
    refused("pull", "-q", "--tls-verify=true", hostile.name(), says=["TLS", "--tls-verify=false"])
