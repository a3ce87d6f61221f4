"""Credentials: where they come from, what is sent to whom, and that nobody sees them."""

from __future__ import annotations

import base64
import json
import stat
from contextlib import aclosing
from pathlib import Path

import pytest

from imagefs.errors import InvalidInputError
from imagefs.registry.access import Credentials
from imagefs.registry.errors import AccessDenied, BadResponse, ConfigError, HelperError
from imagefs.registry.login import (
    NotLoggedIn,
    logged_in_user,
    login,
    logout,
    logout_all,
    registry_key,
)
from imagefs.testing.fake_registry import FakeRegistry, Fault, Reply, serve
from imagefs.testing.transport_contract import LAYER, info, manifest

from .conftest import REPOSITORY, Kit

GOOD = Credentials("anna", "s3cret")
BAD = Credentials("anna", "wr0ng")


def helper(kit: Kit, name: str, script: str) -> None:
    path = kit.home / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    kit.env["PATH"] = f"{kit.home}:/usr/bin:/bin"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials_are_sent_when_asked_for(
    kit: Kit, registry: FakeRegistry, auth: str
) -> None:
    registry.auth = auth  # type: ignore[assignment]  # one of the three, as listed above
    async with serve(registry) as host:
        name = f"{host}/{REPOSITORY}:1"
        async with aclosing(kit.source(name, creds=GOOD)) as source:
            assert (await source.manifest())[0] == manifest()
            assert await source.blob(info(LAYER)) == LAYER
        for creds, words in ((BAD, "refused"), (None, "required")):
            async with aclosing(kit.source(name, creds=creds)) as source:
                with pytest.raises(AccessDenied, match=words) as caught:
                    await source.manifest()
            assert "imagefs login" in str(caught.value)
            assert "wr0ng" not in str(caught.value)


async def test_anonymous_tokens_are_for_pulling(kit: Kit, registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    registry.anonymous_pull = True
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        assert (await source.manifest())[0] == manifest()
        assert await source.blob(info(LAYER)) == LAYER
    assert len(registry.asked("/token")) == 1  # one token serves all of a repository's pulls


async def test_a_token_that_is_no_longer_good_is_renewed(kit: Kit, registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    async with (
        serve(registry) as host,
        aclosing(kit.source(f"{host}/{REPOSITORY}:1", creds=GOOD)) as source,
    ):
        await source.manifest()
        registry.tokens.clear()
        assert await source.pread(info(LAYER), 5, 5) == LAYER[5:10]
        registry.faults.append(Fault("blobs", "cut", at=100))
        assert await source.blob(info(LAYER)) == LAYER


async def test_nothing_secret_is_logged(
    kit: Kit, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    for auth in ("basic", "bearer"):
        registry.auth = auth  # type: ignore[assignment]  # one of the three, as listed above
        async with (
            serve(registry) as host,
            aclosing(kit.source(f"{host}/{REPOSITORY}:1", creds=GOOD)) as source,
        ):
            await source.manifest()
    encoded = registry.requests[-1].headers["authorization"].split()[1]
    basic = base64.b64encode(b"anna:s3cret").decode()
    for secret in ("s3cret", basic, encoded):
        assert secret not in caplog.text


async def test_an_identity_token_is_exchanged(kit: Kit, registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    creds = Credentials("<token>", "", registry.password)
    async with (
        serve(registry) as host,
        aclosing(kit.source(f"{host}/{REPOSITORY}:1", creds=creds)) as source,
    ):
        assert (await source.manifest())[0] == manifest()
    assert [request.method for request in registry.asked("/token")] == ["POST"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"token":5}', b'{"token":"a\\nb"}', b'{"token":""}', b" " * (2 << 20)]
)
async def test_bad_tokens_are_refused(kit: Kit, registry: FakeRegistry, body: bytes) -> None:
    registry.auth = "bearer"
    registry.faults.append(Fault("/token", "reply", reply=Reply(200, {}, body)))
    async with serve(registry) as host, aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
        with pytest.raises(BadResponse):
            await source.manifest()


async def test_a_challenge_that_nobody_can_answer_is_named(
    kit: Kit, registry: FakeRegistry
) -> None:
    for challenge in ("Negotiate", "=garbage", 'Bearer realm="ftp://x"', "Bearer service=x"):
        reply = Reply(401, {"www-authenticate": challenge})
        registry.faults[:] = [Fault("GET /v2/", "reply", reply=reply, times=99)]
        async with (
            serve(registry) as host,
            aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source,
        ):
            with pytest.raises(BadResponse):
                await source.manifest()


async def test_login_keeps_what_the_registry_accepts(kit: Kit, registry: FakeRegistry) -> None:
    registry.auth = "basic"
    kit.env["XDG_RUNTIME_DIR"] = str(kit.home / "run")
    async with serve(registry) as host:
        with pytest.raises(AccessDenied):
            await login(host, BAD, kit.access(), kit.env)
        assert not (kit.home / "run").exists()
        path = await login(host, GOOD, kit.access(), kit.env)
        assert path == kit.home / "run/containers/auth.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await logged_in_user(host, kit.access(), kit.env) == "anna"
        async with aclosing(kit.source(f"{host}/{REPOSITORY}:1")) as source:
            assert (await source.manifest())[0] == manifest()
        await logout(host, kit.access(), kit.env)
        with pytest.raises(NotLoggedIn):
            await logged_in_user(host, kit.access(), kit.env)
        with pytest.raises(NotLoggedIn):
            await logout(host, kit.access(), kit.env)
        await login(f"{host}/team", GOOD, kit.access(), kit.env)
        logout_all(kit.access(), kit.env)
        assert json.loads(path.read_text())["auths"] == {}
    assert [entry.name for entry in path.parent.iterdir()] == ["auth.json"]


async def test_files_are_read_in_podmans_order(kit: Kit) -> None:
    run, home = kit.home / "run/containers", kit.home
    kit.env["XDG_RUNTIME_DIR"] = str(kit.home / "run")

    def write(path: Path, user: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"reg": {"username": user, "password": "p"}}}))

    async def user(**options: Path) -> str:
        return await logged_in_user("reg", kit.access(**options), kit.env)

    write(home / ".docker/config.json", "docker")
    assert await user() == "docker"
    write(home / ".config/containers/auth.json", "config")
    assert await user() == "config"
    write(run / "auth.json", "run")
    assert await user() == "run"
    write(home / "env.json", "env")
    kit.env["REGISTRY_AUTH_FILE"] = str(home / "env.json")
    assert await user() == "env"
    write(home / "option.json", "option")
    assert await user(authfile=home / "option.json") == "option"
    with pytest.raises(ConfigError, match="no such auth file"):
        await user(authfile=home / "missing.json")


async def test_helpers_are_asked(kit: Kit) -> None:
    helper(kit, "good", 'read s; echo "{\\"Username\\":\\"u-$s\\",\\"Secret\\":\\"x\\"}"')
    helper(kit, "none", "echo credentials not found in native keychain; exit 1")
    auth = kit.write_auth({"credHelpers": {"a": "good", "b": "none"}, "credsStore": "good"})
    access = kit.access(authfile=auth)
    assert await logged_in_user("a", access, kit.env) == "u-a"
    assert await logged_in_user("other", access, kit.env) == "u-other"
    with pytest.raises(NotLoggedIn):
        await logged_in_user("b", access, kit.env)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo broken; exit 3", "broken"),
        ("exit 3", "exit code 3"),
        ("echo hunter2", "invalid"),
        ('echo \'{"Username":5,"Secret":"hunter2"}\'', "invalid"),
    ],
)
async def test_a_helper_that_fails_is_one_line(kit: Kit, script: str, words: str) -> None:
    helper(kit, "bad", script)
    auth = kit.write_auth({"credHelpers": {"reg": "bad", "x": "absent", "y": "../evil"}})
    with pytest.raises(HelperError, match=words) as caught:
        await logged_in_user("reg", kit.access(authfile=auth), kit.env)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(HelperError, match="not found in PATH"):
        await logged_in_user("x", kit.access(authfile=auth), kit.env)
    with pytest.raises(HelperError, match="invalid"):
        await logged_in_user("y", kit.access(authfile=auth), kit.env)


async def test_login_and_logout_use_the_registrys_helper(kit: Kit, registry: FakeRegistry) -> None:
    helper(kit, "log", f'echo "$1 $(cat)" >> {kit.home}/helper.log')
    async with serve(registry) as host:
        auth = kit.write_auth({"credHelpers": {host: "log"}})
        access = kit.access(authfile=auth)
        await login(host, GOOD, access, kit.env)
        await logout(host, access, kit.env)
    lines = (kit.home / "helper.log").read_text().splitlines()
    assert lines[0].startswith("store ")
    assert json.loads(lines[0].removeprefix("store "))["ServerURL"] == host
    assert lines[1] == f"erase {host}"
    assert "auths" not in json.loads(auth.read_text())


def test_a_registry_may_be_written_as_a_url() -> None:
    assert registry_key("https://host:5000/") == "host:5000"
    assert registry_key("host/team") == "host/team"


@pytest.mark.parametrize("text", ["", "https://", "a b", "host/UPPER", "/x"])
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        registry_key(text)
