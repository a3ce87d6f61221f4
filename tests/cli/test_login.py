"""`imagefs login` and `logout`: what is kept, said and refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest

from imagefs.testing.fake_registry import FakeRegistry

from .conftest import Cli, served


class Stdin(io.StringIO):
    """What somebody pipes in."""

    def isatty(self) -> bool:
        return False


def kept(cli: Cli) -> dict[str, object]:
    found: dict[str, object] = json.loads((cli.home / "auth.json").read_bytes()).get("auths", {})
    return found


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry(auth="basic")


def test_login_keeps_what_the_registry_takes(cli: Cli, registry: FakeRegistry) -> None:
    with served(registry) as host:
        assert cli.ok("login", "-u", "anna", "-p", "s3cret", host).out == "Login Succeeded!\n"
        assert list(kept(cli)) == [host]
        assert cli.ok("login", "--get-login", host).out == "anna\n"
        ran = cli.ok("login", "-v", "-u", "anna", "-p", "s3cret", host)
        assert ran.lines == [f"Used: {cli.home}/auth.json", "Login Succeeded!"]
        assert "Already logged in" in cli.ok("login", host).out
        assert cli.ok("logout", host).out == f"Removed login credentials for {host}\n"
        assert kept(cli) == {}
        cli.fails(125, "logout", host)
        cli.fails(125, "login", "--get-login", host)


def test_login_keeps_nothing_that_is_refused(cli: Cli, registry: FakeRegistry) -> None:
    with served(registry) as host:
        refused = cli.fails(125, "login", "-u", "anna", "-p", "wr0ng", host)
        assert "wr0ng" not in refused.err
        assert kept(cli) == {}
    cli.fails(125, "login", "-u", "anna", "-p", "s3cret", host)


def test_a_password_comes_from_stdin(
    cli: Cli, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(registry) as host:
        monkeypatch.setattr("sys.stdin", Stdin("s3cret\n"))
        cli.ok("login", "-u", "anna", "--password-stdin", host)
        cli.ok("logout", "--all")
        assert kept(cli) == {}
        monkeypatch.setattr("sys.stdin", Stdin(""))
        cli.fails(125, "login", "-u", "anna", "--password-stdin", host)
        cli.fails(125, "login", "--password-stdin", host)
        cli.fails(125, "login", "-u", "anna", "-p", "x", "--password-stdin", host)
        assert "--password-stdin" in cli.fails(125, "login", host).err


def test_a_terminal_is_asked(cli: Cli, registry: FakeRegistry) -> None:
    (cli.home / "auth.json").unlink()
    with served(registry) as host:
        code, shown = on_terminal(["login", host], ["anna", "s3cret"])
    assert code == 0
    assert "Login Succeeded!" in shown
    assert "s3cret" not in shown
    assert list(kept(cli)) == [host]


def on_terminal(arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run the command on a terminal of its own; each answer is given when a prompt's colon came."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "imagefs_cli", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        for answer in answers:
            while not shown.endswith(b": "):
                shown += os.read(ours, 1)
            os.write(ours, answer.encode() + b"\n")
            shown += b"|"
        with suppress(OSError):  # EIO: the other side is closed
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
    return process.returncode, shown.decode()


def test_existing_credentials_that_went_bad_are_said_so(
    cli: Cli, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(registry) as host:
        cli.ok("login", "-u", "anna", "-p", "s3cret", host)
        registry.password = "other"
        monkeypatch.setattr("sys.stdin", Stdin(""))
        assert "invalid" in cli.fails(125, "login", host).out


def test_another_file_holds_the_credentials(cli: Cli, registry: FakeRegistry) -> None:
    other = cli.home / "other.json"
    with served(registry) as host:
        cli.ok("login", "-u", "anna", "-p", "s3cret", "--authfile", str(other), host)
        assert kept(cli) == {}
        assert list(json.loads(other.read_bytes())["auths"]) == [host]
        assert cli.ok("login", "--get-login", "--authfile", str(other), host).out == "anna\n"
        cli.ok("logout", "--authfile", str(other), host)


def test_the_first_search_registry_is_meant(cli: Cli, registry: FakeRegistry) -> None:
    assert "name a registry" in cli.fails(125, "login", "-u", "anna", "-p", "s3cret").err
    cli.fails(125, "logout")
    with served(registry) as host:
        conf = cli.home / "registries.conf"
        conf.write_text(f'unqualified-search-registries = ["{host}"]')
        cli.ok("login", "-u", "anna", "-p", "s3cret")
        assert list(kept(cli)) == [host]
        cli.ok("logout")


@pytest.mark.parametrize("name", ["", "a b", "host:port:port", "https://"])
def test_what_is_no_registry(cli: Cli, name: str) -> None:
    cli.fails(125, "login", "-u", "anna", "-p", "x", name)
    cli.fails(125, "logout", name)
