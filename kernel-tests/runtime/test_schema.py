"""config.json against the JSON schema of the runtime specification, as Debian ships it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT4

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime import containersconf, host, seccompdefault
from imagefs.runtime.options import RunOptions, SecurityOptions
from imagefs.runtime.spec import SpecRequest, build_spec
from imagefs.runtime.users import User
from imagefs.runtime.volumes import Tmpfs, Volume

SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
DEBIANS = Path("/usr/share/containers/seccomp.json").read_bytes()
ROOT = User(0, 0, (1, 2), "root", "/root")
SOMEBODY = User(5, 6, (), "", "/")


@pytest.fixture(scope="module")
def schema() -> jsonschema.protocols.Validator:
    files = {path.name: json.loads(path.read_bytes()) for path in SCHEMAS.glob("*.json")}
    main = files["config-schema.json"]
    # They refer to each other by file name.
    registry: Registry[Any] = Registry().with_resources(
        (name, DRAFT4.create_resource(document)) for name, document in files.items()
    )
    return jsonschema.Draft4Validator(main, registry=registry)


def spec(options: RunOptions, user: User, seccomp: tuple[bytes, str] | None) -> dict[str, Any]:
    request = SpecRequest(
        "ab" * 32,
        "/rootfs",
        RuntimeConfig(env=("A=b",), working_dir="/w"),
        options,
        containersconf.load({}, privileged=True),
        host.probe(os.environ),
        user,
        {"/etc/hosts": "/c/hosts"},
        ((Volume("bind", "/h", "/v", ("ro", "shared")), "/h"),),
        seccomp,
    )
    return build_spec(request)[0]


@pytest.mark.parametrize(
    ("options", "user", "seccomp"),
    [
        (RunOptions(("sh",)), ROOT, (DEBIANS, "Debian's")),
        (RunOptions(("sh",)), SOMEBODY, (seccompdefault.profile(), "ours")),
        (RunOptions(("sh",), privileged=True, terminal=True), ROOT, None),
        (
            RunOptions(
                ("sh",),
                network="none",
                read_only=True,
                tmpfs=(Tmpfs("/t", ("size=1m",)),),
                ulimits=("core=-1", "nofile=1:2"),
                cap_add=("ALL",),
                oom_score_adj=500,
                annotations={"a": "b"},
                security=SecurityOptions(no_new_privileges=True, mask=("/m",)),
            ),
            SOMEBODY,
            (DEBIANS, "Debian's"),
        ),
    ],
)
def test_specs_are_valid(
    schema: jsonschema.protocols.Validator,
    options: RunOptions,
    user: User,
    seccomp: tuple[bytes, str] | None,
) -> None:
    assert [error.message for error in schema.iter_errors(spec(options, user, seccomp))] == []


def test_the_schema_sees_what_is_wrong(schema: jsonschema.protocols.Validator) -> None:
    found = spec(RunOptions(("sh",)), ROOT, None)
    found["process"]["user"]["uid"] = "root"
    found["linux"]["namespaces"][0]["type"] = "none such"
    found["process"]["rlimits"][0]["type"] = "nofile"
    assert len(list(schema.iter_errors(found))) == 3
