"""auth.json: whose credentials are whose, and none of them in sight."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.registry.access import Access, Credentials
from imagefs.registry.authfile import AuthFile, lookup_keys
from imagefs.registry.errors import ConfigError


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def parsed(document: object) -> AuthFile:
    return AuthFile.parse(json.dumps(document).encode(), "auth.json")


def user_of(file: AuthFile, key: str) -> str | None:
    found = file.credentials(key)
    return found.username if found is not None else None


def test_the_longest_key_wins() -> None:
    keys = {"reg:5000": "host", "reg:5000/team": "team", "reg:5000/team/app": "app"}
    file = parsed({"auths": {key: entry(user, "p") for key, user in keys.items()}})
    assert user_of(file, "reg:5000/team/app") == "app"
    assert user_of(file, "reg:5000/team/application") == "team"
    assert user_of(file, "reg:5000/other") == "host"
    assert user_of(file, "reg/team/app") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_has_many_names(key: str) -> None:
    file = parsed({"auths": {key: entry("anna", "p")}})
    assert user_of(file, "docker.io/library/python") == "anna"
    assert user_of(file, "quay.io/library/python") is None


def test_dockers_keys_with_a_scheme_match_the_host() -> None:
    file = parsed({"auths": {"https://reg:5000/v2/": entry("anna", "p")}})
    assert user_of(file, "reg:5000/a/b") == "anna"


def test_passwords_may_have_colons_and_tokens_replace_them() -> None:
    file = parsed({"auths": {"a": entry("u", "p:q"), "b": {"identitytoken": "t"}, "c": {}}})
    assert file.credentials("a/x") == Credentials("u", "p:q")
    assert file.credentials("b/x") == Credentials("<token>", "", "t")
    assert file.credentials("c/x") is None


def test_helpers_are_by_registry_and_the_store_is_for_the_rest() -> None:
    file = parsed({"credHelpers": {"reg": "pass", "docker.io": "hub"}, "credsStore": "desktop"})
    assert file.helper("reg/team/app") == "pass"
    assert file.helper("index.docker.io/library/x") == "hub"
    assert file.helper("other/x") is None
    assert file.store == "desktop"


def test_writing_keeps_what_it_does_not_know() -> None:
    file = parsed({"auths": {"a": entry("u", "p")}, "HttpHeaders": {"X": "y"}})
    changed = file.with_credentials("b/c", Credentials("v", "q"))
    again = AuthFile.parse(changed.encode(), "auth.json")
    assert again.credentials("b/c/d") == Credentials("v", "q")
    assert again.document["HttpHeaders"] == {"X": "y"}
    gone = again.without("b/c")
    assert gone is not None
    assert gone.document == file.document
    assert gone.without("b/c") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"auths": []}',
        b'{"auths": {"reg": 5}}',
        b'{"auths": {"reg": {"auth": "hunter2!"}}}',
        b'{"auths": {"reg": {"auth": "aHVudGVyMg=="}}}',
    ],
)
def test_a_bad_file_is_named_but_not_quoted(raw: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^auth\.json: ") as caught:
        AuthFile.parse(raw, "auth.json").credentials("reg/x")
    assert "hunter2" not in str(caught.value)


def test_secrets_have_no_repr() -> None:
    credentials = Credentials("anna", "hunter2", "token3")
    access = Access(creds=credentials)
    file = AuthFile("auth.json").with_credentials("reg", credentials)
    for text in (repr(credentials), repr(access), str(access), repr(file), f"{access.to_record()}"):
        assert "hunter2" not in text
        assert "token3" not in text
        assert "aHVudGVy" not in text


def test_an_access_survives_its_record_but_for_the_secret() -> None:
    access = Access(creds=Credentials("u", "p"), tls_verify=False, retry_budget=5.0)
    assert Access.from_record(access.to_record()) == Access(tls_verify=False, retry_budget=5.0)
    assert Access.from_record(access.to_record(), access.creds) == access


@given(st.binary(max_size=80))
def test_any_bytes_are_understood_or_refused(raw: bytes) -> None:
    try:
        AuthFile.parse(raw, "auth.json").credentials("reg/a")
    except ConfigError:
        pass


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5))
def test_lookups_go_from_the_specific_to_the_general(parts: list[str]) -> None:
    keys = list(lookup_keys("/".join(parts)))
    assert keys == ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
