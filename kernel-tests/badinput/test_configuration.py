"""Configuration files that are wrong, missing, or say no."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.hostile import HostileRegistry
from harness.refusals import Refusals


def write(refused: Refusals, name: str, text: str) -> Path:
    """A file in the test's home directory."""
    path = refused.cli.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


AUTH_FILES = {
    "no JSON": ("{", ["not valid JSON"]),
    "a list": ("[]", ["expected a JSON object"]),
    "auths that are a list": ('{"auths": []}', ["auths is not an object"]),
    "no base64": ('{"auths": {"HOST": {"auth": "!"}}}', ["not valid base64"]),
    "no colon": ('{"auths": {"HOST": {"auth": "YQ=="}}}', ["not USER:PASSWORD"]),
    "a helper that is not there": (
        '{"credHelpers": {"HOST": "nowhere"}}',
        ["docker-credential-nowhere", "not found"],
    ),
}


@pytest.mark.parametrize("case", AUTH_FILES)
def test_bad_auth_file(case: str, hostile: HostileRegistry, refused: Refusals) -> None:
    text, says = AUTH_FILES[case]
    hostile.image()
    hostile.registry.auth = "basic"
    path = write(refused, "auth.json", text.replace("HOST", hostile.host))
    about = [] if "helper" in case else [str(path)]
    refused("pull", "-q", f"--authfile={path}", hostile.name(), says=[*about, *says])


def test_auth_file_that_is_missing_or_a_directory(
    hostile: HostileRegistry, refused: Refusals
) -> None:
    hostile.image()
    hostile.registry.auth = "basic"
    path = refused.cli.directory / "auth.json"
    refused(
        "pull", "-q", f"--authfile={path}", hostile.name(), says=[str(path), "no such", "log in"]
    )
    refused(
        "pull",
        "-q",
        hostile.name(),
        environment={"REGISTRY_AUTH_FILE": str(refused.cli.directory)},
        says=[str(refused.cli.directory), "Is a directory"],
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("unqualified-search-registries = [", []),
        ("[[registry]]\nprefix = 7\n", []),
        ("[[registry]]\nlocation = 'http://x'\n", []),
    ],
    ids=["no TOML", "wrong type", "URL for a location"],
)
def test_bad_registries_conf(
    text: str, says: list[str], hostile: HostileRegistry, refused: Refusals
) -> None:
    hostile.image()
    path = write(refused, "registries.conf", text)
    refused(
        "pull",
        "-q",
        hostile.name(),
        environment={"CONTAINERS_REGISTRIES_CONF": str(path)},
        says=[str(path), *says],
    )


def test_blocked_registry(hostile: HostileRegistry, refused: Refusals) -> None:
    hostile.image()
    text = f'[[registry]]\nprefix = "{hostile.host}"\nblocked = true\n'
    path = write(refused, "registries.conf", text)
    environment = {"CONTAINERS_REGISTRIES_CONF": str(path)}
    refused(
        "pull",
        "-q",
        hostile.name(),
        environment=environment,
        says=["bad", "is blocked in registries.conf"],
    )
    assert hostile.registry.requests == []


def test_short_name_without_a_registry_to_look_in(refused: Refusals) -> None:
    path = write(refused, "registries.conf", "")
    refused(
        "pull",
        "-q",
        "busybox",
        environment={
            "CONTAINERS_REGISTRIES_CONF": str(path),
            "CONTAINERS_REGISTRIES_CONF_DIR": str(refused.cli.directory / "none"),
        },
        says=["busybox", "no registry", "write HOST/busybox"],
    )


def _policy(refused: Refusals, text: str) -> Path:
    return write(refused, ".config/containers/policy.json", text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", ["not valid JSON"]),
        ("{}", ['needs "default"']),
        ('{"default": []}', ["at least one requirement"]),
        ('{"default": [{"type": "reject"}], "extra": 1}', ["unknown key 'extra'"]),
    ],
    ids=["no JSON", "no default", "no requirement", "unknown key"],
)
def test_bad_policy(
    text: str, says: list[str], hostile: HostileRegistry, refused: Refusals
) -> None:
    hostile.image()
    path = _policy(refused, text)
    refused("pull", "-q", hostile.name(), says=[str(path), *says])


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ({"type": "reject"}, ["bad:1: rejected by"]),
        (
            {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/x"},
            ["bad:1", "'signedBy'", "refused"],
        ),
    ],
    ids=["reject", "signedBy"],
)
def test_policy_that_says_no(
    requirement: dict[str, str], says: list[str], hostile: HostileRegistry, refused: Refusals
) -> None:
    hostile.image()
    accept = [{"type": "insecureAcceptAnything"}]
    scopes = {"docker": {f"{hostile.host}/bad": [requirement]}}
    _policy(refused, json.dumps({"default": accept, "transports": scopes}))
    refused("mount", "-q", hostile.name(), refused.cli.mountpoint("here"), says=says)
    assert hostile.registry.requests == []


def test_bad_certificate_directory(hostile: HostileRegistry, refused: Refusals) -> None:
    hostile.image()
    path = refused.cli.directory / "certificates"
    refused("pull", "-q", f"--cert-dir={path}", hostile.name(), says=[str(path)])
    write(refused, "certificates/ca.crt", "no certificate")
    refused("pull", "-q", f"--cert-dir={path}", hostile.name(), says=[str(path / "ca.crt")])


def test_source_date_that_is_none(refused: Refusals, hostile: HostileRegistry) -> None:
    hostile.image()
    place = refused.cli.mountpoint("here")
    refused.cli("mount", "-q", hostile.name(), place)
    refused(
        "commit",
        "-q",
        place,
        "new:1",
        environment={"SOURCE_DATE_EPOCH": "yesterday"},
        says=["SOURCE_DATE_EPOCH", "yesterday"],
    )
    refused("commit", "-q", "--change", "RUN x", place, "new:1", says=["RUN"])
    refused("commit", "-q", "--change", "CMD", place, "new:1", says=["CMD"])
    refused("commit", "-q", place, "UPPER:1", says=["UPPER"])
    refused("commit", "-q", place, f"oci:{place}:1", says=["push it to a layout"])
