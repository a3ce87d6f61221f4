"""Image configs: read, changed without losing what is unknown, and podman's --change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.errors import ImagefsError
from imagefs.oci.canonical import DocumentError
from imagefs.oci.change import ChangeError, apply_change
from imagefs.oci.config import History, ImageConfig
from imagefs.oci.digest import Digest
from imagefs.oci.platform import Platform

DIFF_ID = Digest.of(b"layer")
#: As docker writes them: nulls, fields of its own, numbers that must not be rewritten.
DOCKER: dict[str, Any] = {
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "created": "2024-05-01T10:00:00.5Z",
    "author": "somebody",
    "docker_version": "20.10",
    "container_config": {"Cmd": None},
    "config": {
        "Hostname": "",
        "User": "app",
        "Env": ["PATH=/bin", "A=1"],
        "Cmd": ["sh"],
        "Entrypoint": None,
        "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}},
        "Labels": None,
        "OnBuild": None,
        "WorkingDir": "/app",
        "StopSignal": "SIGINT",
        "ArgsEscaped": True,
        "Shell": ["/bin/bash", "-c"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Retries": 3},
        "Unknown": 12345678901234567890123,
    },
    "rootfs": {"type": "layers", "diff_ids": [str(DIFF_ID)], "odd": 1},
    "history": [{"created": "2024", "created_by": "ADD <x>", "odd": [1.0]}],
}
SCRATCH = ImageConfig.scratch(Platform("linux", "amd64"))


def docker_config() -> ImageConfig:
    """The config above."""
    return ImageConfig.parse(json.dumps(DOCKER).encode())


def test_a_docker_config_is_read() -> None:
    config = docker_config()
    runtime = config.config
    assert config.platform == Platform("linux", "arm64", "v8")
    assert (config.created, config.author) == ("2024-05-01T10:00:00.5Z", "somebody")
    assert config.rootfs.diff_ids == (DIFF_ID,)
    assert config.history == (History("2024", "ADD <x>"),)
    assert (runtime.user, runtime.working_dir, runtime.stop_signal) == ("app", "/app", "SIGINT")
    assert (runtime.env, runtime.cmd, runtime.entrypoint) == (("PATH=/bin", "A=1"), ("sh",), None)
    assert runtime.args_escaped
    assert runtime.shell == ("/bin/bash", "-c")
    assert runtime.healthcheck is not None
    assert runtime.healthcheck.test == ("CMD", "true")
    assert config.digest == Digest.of(config.raw)


def test_a_new_layer_leaves_everything_else_as_it_was() -> None:
    top = Digest.of(b"top")
    entry = History(created_by="commit", comment="slim")
    changed = docker_config().with_layer(top, entry)
    assert changed.rootfs.diff_ids == (DIFF_ID, top)
    assert changed.history[-1] == entry
    expected = json.loads(json.dumps(DOCKER))
    expected["rootfs"]["diff_ids"].append(str(top))
    expected["history"].append({"created_by": "commit", "comment": "slim"})
    assert json.loads(changed.raw) == expected
    assert b"12345678901234567890123" in changed.raw
    assert b"[1.0]" in changed.raw


def test_a_change_of_one_field_leaves_everything_else_as_it_was() -> None:
    changed = docker_config().with_config({"User": None, "Cmd": ["bash"]})
    expected = json.loads(json.dumps(DOCKER))
    del expected["config"]["User"]
    expected["config"]["Cmd"] = ["bash"]
    assert json.loads(changed.raw) == expected


def test_equal_changes_give_equal_bytes() -> None:
    assert docker_config().with_config({"User": "x"}) == docker_config().with_config({"User": "x"})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"os": None}, "no os"),
        ({"rootfs": None}, "no rootfs"),
        ({"rootfs": {"type": "windows", "diff_ids": []}}, "not 'layers'"),
        ({"rootfs": {"type": "layers", "diff_ids": ["sha256:1"]}}, "invalid sha256 digest"),
        ({"rootfs": {"type": "layers", "diff_ids": "x"}}, "`array"),
        ({"config": {"Env": "A=1"}}, "`array"),
        ({"config": {"Cmd": [1]}}, "Expected `str`"),
        ({"history": [1]}, "Expected `object`"),
    ],
)
def test_what_is_no_config_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(DocumentError) as caught:
        ImageConfig.parse(json.dumps({**DOCKER, **changes}).encode())
    assert why in str(caught.value)
    assert str(caught.value).startswith("image config")


@pytest.mark.parametrize(
    ("instruction", "field", "value"),
    [
        ('CMD ["python3", "-c", "print(1)"]', "Cmd", ["python3", "-c", "print(1)"]),
        ("CMD echo $HOME 'a b'", "Cmd", ["/bin/sh", "-c", "echo $HOME 'a b'"]),
        ("CMD [not json]", "Cmd", ["/bin/sh", "-c", "[not json]"]),
        ("cmd=/bin/true", "Cmd", ["/bin/sh", "-c", "/bin/true"]),
        ("ENTRYPOINT []", "Entrypoint", []),
        ("ENTRYPOINT ", "Entrypoint", []),
        ('ENTRYPOINT ["/init"]', "Entrypoint", ["/init"]),
        ("ENV A=1", "Env", ["A=1"]),
        ('ENV A=1 B="two words" C=t\\ o', "Env", ["A=1", "B=two words", "C=t o"]),
        ("ENV A the rest = it", "Env", ["A=the rest = it"]),
        ("ENV A=", "Env", ["A="]),
        ("ENV=A=b", "Env", ["A=b"]),
        ("EXPOSE 80", "ExposedPorts", {"80/tcp": {}}),
        ("EXPOSE 53/UDP 81-82", "ExposedPorts", {"53/udp": {}, "81/tcp": {}, "82/tcp": {}}),
        ('LABEL "a b"="c d" e=f', "Labels", {"a b": "c d", "e": "f"}),
        ("ONBUILD RUN make", "OnBuild", ["RUN make"]),
        ("STOPSIGNAL SIGTERM", "StopSignal", "SIGTERM"),
        ("STOPSIGNAL usr1", "StopSignal", "SIGUSR1"),
        ("STOPSIGNAL 9", "StopSignal", "9"),
        ("STOPSIGNAL SIGRTMIN+3", "StopSignal", "SIGRTMIN+3"),
        ("USER 1000:1000", "User", "1000:1000"),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ("WORKDIR /srv/x/..", "WorkingDir", "/srv"),
        ("WORKDIR //srv", "WorkingDir", "/srv"),
        ('WORKDIR "/my dir"', "WorkingDir", "/my dir"),
        ("WORKDIR /my dir", "WorkingDir", "/my dir"),
    ],
)
def test_an_instruction_sets_its_field(instruction: str, field: str, value: object) -> None:
    changed = apply_change(SCRATCH, instruction)
    assert json.loads(changed.raw)["config"] == {field: value}


@pytest.mark.parametrize(
    ("instruction", "field", "value"),
    [
        ("CMD date", "Cmd", ["/bin/bash", "-c", "date"]),
        ("ENV B=2 A=3", "Env", ["PATH=/bin", "A=3", "B=2"]),
        ("EXPOSE 81", "ExposedPorts", {"80/tcp": {}, "81/tcp": {}}),
        ("VOLUME /more", "Volumes", {"/data": {}, "/more": {}}),
        ("WORKDIR sub", "WorkingDir", "/app/sub"),
    ],
)
def test_an_instruction_builds_on_what_is_there(
    instruction: str, field: str, value: object
) -> None:
    changed = apply_change(docker_config(), instruction)
    expected = {**DOCKER["config"], field: value}
    assert json.loads(changed.raw) == {**DOCKER, "config": expected}


@pytest.mark.parametrize(
    "instruction",
    [
        "",
        "CMD",
        "FROM scratch",
        "RUN make",
        "HEALTHCHECK NONE",
        "ENV",
        "ENV ",
        "ENV A",
        "ENV =1",
        "ENV A=1 B",
        'ENV A="1',
        "EXPOSE 0",
        "EXPOSE 65536",
        "EXPOSE http",
        "EXPOSE 9-8",
        "EXPOSE 80/icmp",
        "LABEL =x",
        "ONBUILD ",
        "STOPSIGNAL SIGNOT",
        "STOPSIGNAL 65",
        "STOPSIGNAL 0",
        "USER ",
        "USER a b",
        "VOLUME []",
        'VOLUME [""]',
        "WORKDIR ",
    ],
)
def test_a_wrong_instruction_is_refused_by_name(instruction: str) -> None:
    with pytest.raises(ChangeError) as caught:
        apply_change(SCRATCH, instruction)
    assert repr(instruction) in str(caught.value)


@given(
    st.sampled_from(
        ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME"]
    ),
    st.text(st.characters(exclude_categories=())),
)
def test_any_argument_is_taken_or_refused_with_an_error_of_ours(name: str, rest: str) -> None:
    try:
        changed = apply_change(SCRATCH, f"{name} {rest}")
    except ImagefsError:
        return
    assert changed.rootfs == SCRATCH.rootfs


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(" ab'=\\\"$"), min_size=1
    )
)
def test_quoted_values_arrive_as_they_are(pairs: dict[str, str]) -> None:
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in pairs.values())
    words = " ".join(f'{key}="{value}"' for key, value in zip(pairs, quoted, strict=True))
    assert apply_change(SCRATCH, f"LABEL {words}").config.labels == pairs
