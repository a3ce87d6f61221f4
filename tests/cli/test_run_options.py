"""How `run`'s words are understood: podman's forms of switches, values and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from imagefs.errors import InvalidInputError
from imagefs.runtime.options import RunOptions
from imagefs_cli.run import run
from imagefs_cli.runoptions import run_options


def parsed(*words: str) -> dict[str, Any]:
    """What click makes of `run WORDS`."""
    context = run.make_context("run", list(words))
    return dict(context.params)


def options(*words: str, host: dict[str, str] | None = None) -> RunOptions:
    given = parsed(*words, "image", "cmd")
    return run_options(given["command"], given, host or {}, Path("/here"))


@pytest.mark.parametrize(
    "words",
    [
        ("-it", "--rm"),
        ("-i", "-t", "--rm"),
        ("-ti", "--rm=true"),
        ("--interactive", "--tty=1", "--rm=t"),
        ("-i=true", "-t", "--rm=false", "--rm"),
        ("--interactive=TRUE", "-t=1", "--rm"),
    ],
)
def test_switches_have_many_forms(words: tuple[str, ...]) -> None:
    given = parsed(*words, "image")
    assert (given["interactive"], given["tty"], given["rm"]) == (True, True, True)


def test_switches_can_be_off() -> None:
    given = parsed("-it=false", "--rm=false", "--sig-proxy=false", "image")
    assert (given["interactive"], given["tty"], given["rm"]) == (True, False, False)
    assert given["sig_proxy"] is False
    assert parsed("--sig-proxy", "image")["sig_proxy"] is True
    assert parsed("image")["sig_proxy"] is True


@pytest.mark.parametrize(
    "words",
    [
        ("-e", "A=b"),
        ("-eA=b",),
        ("-e=A=b",),
        ("--env", "A=b"),
        ("--env=A=b",),
        ("-ie", "A=b"),
        ("-ieA=b",),
    ],
)
def test_values_have_many_forms(words: tuple[str, ...]) -> None:
    assert options(*words).env == {"A": "b"}


def test_nothing_after_the_image_is_ours() -> None:
    given = parsed("--rm", "image", "ls", "--rm=maybe", "-e", "--", "-p")
    assert given["command"] == ("ls", "--rm=maybe", "-e", "--", "-p")
    assert given["env"] == ()
    assert parsed("--", "image", "-x")["command"] == ("-x",)


def test_a_value_may_look_like_a_switch() -> None:
    assert options("--name", "--rm", "-w", "/--tty").workdir == "/--tty"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-p", "80"), "-p: not supported: containers have the host's network"),
        (("--publish=80",), "--publish: not supported"),
        (("-d",), "-d: not supported yet"),
        (("-itd",), "-d: not supported yet"),
        (("--mount", "x"), "--mount: an option of podman that is not supported"),
        (("-m", "1g"), "-m: an option of podman"),
        (("--no-such",), "No such option"),
        (("--rm=maybe",), "--rm: 'maybe' is neither true nor false"),
    ],
)
def test_options_that_are_not_here_are_refused_by_name(
    words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(*words, "image")
    assert message in caught.value.format_message()


def test_files_go_before_variables_and_labels(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\nC\n")
    (tmp_path / "labels").write_text("# x\na=file\nb=file\n")
    found = options(
        *("--env-file", str(tmp_path / "env"), "-e", "A=option"),
        *("--label-file", str(tmp_path / "labels"), "-l", "a=option", "--label=c"),
        host={"C": "host"},
    )
    assert found.env == {"A": "option", "B": "file", "C": "host"}
    assert found.labels == {"a": "option", "b": "file", "c": ""}


def test_lists_may_be_one_word() -> None:
    found = options("--cap-add=a,b", "--cap-add", "c", "--cap-drop", "d", "--ulimit=core=0,cpu=1")
    assert (found.cap_add, found.cap_drop) == (("a", "b", "c"), ("d",))
    assert found.ulimits == ("core=0", "cpu=1")


def test_all_else_arrives() -> None:
    found = options(
        *("--entrypoint", '["a","b"]', "-u", "1:2", "-w", "/w", "-h", "box", "--net=none"),
        *("--read-only", "--read-only-tmpfs=false", "--privileged", "--shm-size=1k"),
        *("--stop-signal=INT", "--tmpfs", "/t:size=1m", "-v", "./x:/x:ro", "--pids-limit", "-1"),
        *("--security-opt=no-new-privileges", "--annotation", "k=v", "--oom-score-adj", "-5"),
        "--env-host",
    )
    assert found.command == ("cmd",)
    assert found.entrypoint == ("a", "b")
    assert (found.user, found.workdir, found.hostname, found.network) == (
        "1:2",
        "/w",
        "box",
        "none",
    )
    assert (found.read_only, found.read_only_tmpfs, found.privileged) == (True, False, True)
    assert (found.shm_size, found.stop_signal, found.pids_limit) == (1024, 2, -1)
    assert found.tmpfs[0].options == ("size=1m",)
    assert found.volumes[0].source == "/here/x"
    assert found.security.no_new_privileges
    assert (dict(found.annotations), found.oom_score_adj, found.env_host) == ({"k": "v"}, -5, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--env-file", "/no/such"),
        ("--label-file=/no/such",),
        ("--annotation", "x"),
        ("--label", "=x"),
        ("-e", "=x"),
        ("--ulimit", "x=1"),
        ("--shm-size", "x"),
        ("--network", "bridge"),
        ("--stop-signal", "NO"),
        ("--hostname", "a b"),
    ],
)
def test_values_that_make_no_sense_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError):
        options(*words)
