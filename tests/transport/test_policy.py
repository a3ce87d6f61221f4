"""policy.json: the most specific scope decides, and what can't be checked is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.oci.reference import Reference
from imagefs.registry.access import Access
from imagefs.registry.errors import Blocked, ConfigError
from imagefs.transport.layout import LayoutName
from imagefs.transport.policy import Policy, load_policy

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]


def policy(**document: object) -> Policy:
    return Policy.parse(json.dumps(document).encode(), "policy.json")


def accepted(rules: Policy, image: str) -> bool:
    try:
        rules.check_reference(Reference.parse(image))
    except Blocked:
        return False
    return True


def test_the_most_specific_scope_decides() -> None:
    rules = policy(
        default=REJECT,
        transports={
            "docker": {
                "reg:5000/team": ACCEPT,
                "reg:5000/team/app": REJECT,
                "reg:5000/team/app:good": ACCEPT,
                "*.example.com": ACCEPT,
                "bad.example.com": REJECT,
            }
        },
    )
    assert accepted(rules, "reg:5000/team/other:1")
    assert not accepted(rules, "reg:5000/team/app:1")
    assert accepted(rules, "reg:5000/team/app:good")
    assert not accepted(rules, "reg:5000/teams/x:1")
    assert accepted(rules, "a.b.example.com/x:1")
    assert not accepted(rules, "bad.example.com/x:1")
    assert not accepted(rules, "example.com/x:1")


def test_a_transports_default_comes_before_the_default() -> None:
    rules = policy(default=REJECT, transports={"docker": {"": ACCEPT}})
    assert accepted(rules, "any.io/x:1")
    with pytest.raises(Blocked, match=r"rejected by policy\.json"):
        rules.check_layout(LayoutName("/somewhere"))


def test_layouts_are_scoped_by_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    rules = policy(default=ACCEPT, transports={"oci": {f"{tmp_path.resolve()}/real": REJECT}})
    rules.check_layout(LayoutName(f"{tmp_path}/other"))
    with pytest.raises(Blocked):
        rules.check_layout(LayoutName(f"{tmp_path}/link", "tag"))


@pytest.mark.parametrize("kind", ["signedBy", "sigstoreSigned", "somethingNew"])
def test_signatures_are_refused_by_name(kind: str) -> None:
    rules = policy(default=[*ACCEPT, {"type": kind, "keyPath": "/k"}])
    with pytest.raises(Blocked, match=kind):
        rules.check_reference(Reference.parse("a.io/b:c"))


def test_no_file_accepts_and_a_named_one_must_exist(tmp_path: Path) -> None:
    assert accepted(Policy(), "a.io/b:c")
    home = {"HOME": str(tmp_path)}
    (tmp_path / ".config/containers").mkdir(parents=True)
    (tmp_path / ".config/containers/policy.json").write_text(json.dumps({"default": REJECT}))
    assert not accepted(load_policy(Access(), home), "a.io/b:c")
    with pytest.raises(ConfigError, match="no such policy"):
        load_policy(Access(policy=tmp_path / "missing"), home)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"default": []},
        {"default": [{}]},
        {"default": ACCEPT, "extra": 1},
        {"default": ACCEPT, "transports": []},
        {"default": ACCEPT, "transports": {"docker": []}},
    ],
)
def test_bad_policies_are_named(document: object) -> None:
    with pytest.raises(ConfigError, match=r"^policy\.json: "):
        Policy.parse(json.dumps(document).encode(), "policy.json")


@given(st.binary(max_size=60))
def test_any_bytes_are_understood_or_refused(raw: bytes) -> None:
    try:
        Policy.parse(raw, "policy.json")
    except ConfigError:
        pass
