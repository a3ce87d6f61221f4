"""The same verbs on the same images, by podman, skopeo and imagefs: same words, same codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from harness.command import Cli
from harness.registry import Registry

from imagefs.testing.oci_layout import Layout

#: What differs on purpose: sizes are of other things, layers lie elsewhere.
OURS = {"GraphDriver", "Size", "VirtualSize", "NamesHistory", "History", "RepoTags", "Created"}


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Podman:
    """podman with a store of its own, in a directory that must have a short name."""

    def __init__(self, directory: str) -> None:
        self._prefix = [
            "podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run",
            "--storage-driver", "vfs",
        ]  # fmt: skip

    def __call__(self, *arguments: str) -> Ran:
        done = subprocess.run(
            [*self._prefix, *arguments], capture_output=True, text=True, check=False, timeout=120
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def podman() -> Iterator[Podman]:
    with TemporaryDirectory(prefix="podman-") as directory:
        yield Podman(directory)


@pytest.fixture
def cli(run_cli: Cli) -> Cli:
    return run_cli


@pytest.fixture
def name(cli: Cli, podman: Podman, registry: Registry, busybox_image: Layout) -> str:
    """The name of an image that both have."""
    found = registry.push(busybox_image, "team/app:1")
    assert podman("pull", "-q", "--tls-verify=false", found).code == 0
    cli("pull", "-q", found)
    return found


def both(cli: Cli, podman: Podman, *arguments: str) -> tuple[Ran, Ran]:
    ours = cli(*arguments, status=None)
    return Ran(ours.returncode, ours.stdout, ours.stderr), podman(*arguments)


def test_pull_prints_the_same_id(
    cli: Cli, podman: Podman, registry: Registry, busybox_image: Layout
) -> None:
    name = registry.push(busybox_image, "team/app:1")
    ours, theirs = both(cli, podman, "pull", "-q", "--tls-verify=false", name)
    assert ours[:2] == theirs[:2]


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "{{.Repository}} {{.Tag}} {{.ID}} {{.Digest}} {{.CreatedSince}}"),
        ("--format", "table {{.Repository}} {{.Tag}}"),
        ("--format", "table {{.ID}}\\t{{.Repository}}", "--noheading"),
        ("-q",),
        ("-q", "--no-trunc"),
        ("-q", "nosuch"),
        ("-q", "team/app"),
        ("-q", "-f", "reference=*/team/app"),
        ("-q", "-f", "reference=*/team"),
        ("-q", "-f", "label=nosuch"),
        ("-q", "-f", "dangling=true"),
        ("-q", "-f", "until=1h"),
    ],
)
def test_images_lists_the_same(
    cli: Cli, podman: Podman, name: str, options: tuple[str, ...]
) -> None:
    ours, theirs = both(cli, podman, "images", *options)
    assert ours == theirs


def test_images_has_the_same_headings_and_columns(cli: Cli, podman: Podman, name: str) -> None:
    for options in ((), ("--digests",), ("--no-trunc",)):
        ours, theirs = both(cli, podman, "images", *options)
        mine, other = ours.out.splitlines(), theirs.out.splitlines()
        assert mine[0] == other[0]
        size = mine[0].index("SIZE")
        assert [line[:size] for line in mine] == [line[:size] for line in other]


def test_images_json_has_the_same_fields(cli: Cli, podman: Podman, name: str) -> None:
    ours, theirs = both(cli, podman, "images", "--format", "json")
    (mine,), (other,) = json.loads(ours.out), json.loads(theirs.out)
    assert set(mine) == set(other)
    same = set(mine) - {"Size", "VirtualSize", "RepoTags", "History", "CreatedAt"}
    assert {key: mine[key] for key in same} == {key: other[key] for key in same}


def test_inspect_says_the_same(cli: Cli, podman: Podman, name: str) -> None:
    ours, theirs = both(cli, podman, "inspect", name)
    (mine,), (other,) = json.loads(ours.out), json.loads(theirs.out)
    assert list(mine) == list(other)
    assert _known(mine) == _known(other)
    assert (mine["RepoTags"], mine["NamesHistory"]) == ([name], [name])
    for template in (
        "{{.Id}}", "{{.RepoTags}} {{.Os}}/{{.Architecture}}", "{{json .Config.Cmd}}",
        "{{index .RepoTags 0}}", "{{range .RootFS.Layers}}{{.}} {{end}}", "{{len .History}}",
        "{{if .Author}}x{{else}}y{{end}}", "{{.Config.Env}} {{.Config.Entrypoint}}",
        "{{.Config.User}}|{{.Config.WorkingDir}}|{{.Config.Labels}}", "{{.User}}{{.Labels}}",
        "{{range $i, $l := .RootFS.Layers}}{{$i}}{{end}}", '{{join .RepoTags ","}}',
        "{{.ManifestType}} {{.Annotations}}", '{{.Os | upper | printf "%q"}}',
    ):  # fmt: skip
        ours, theirs = both(cli, podman, "inspect", "--format", template, name)
        assert ours == theirs, template


def _known(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in OURS}


def test_tags_and_their_removal(cli: Cli, podman: Podman, name: str) -> None:
    for arguments in (
        ("tag", name, "mine", "quay.io/x/y:2"),
        ("images", "-n", "--sort", "repository", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"),
        ("rmi", "mine"),
        ("rmi", "quay.io/x/y:2"),
        ("rmi", name),
        ("images", "-q"),
    ):
        ours, theirs = both(cli, podman, *arguments)
        assert ours == theirs, arguments


def test_an_id_with_several_names_needs_force(cli: Cli, podman: Podman, name: str) -> None:
    image = podman("images", "-q").out.strip()
    for runs in (("tag", name, "mine"), ("rmi", image), ("rmi", "--force", image)):
        ours, theirs = both(cli, podman, *runs)
        assert ours.code == theirs.code
        assert sorted(ours.out.splitlines()) == sorted(theirs.out.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("rmi", "nosuch"),
        ("rmi", "--ignore", "nosuch"),
        ("rmi",),
        ("rmi", "--all", "x"),
        ("tag", "nosuch", "x"),
        ("tag", "nosuch"),
        ("inspect", "nosuch"),
        ("inspect", "--type", "nonsense", "x"),
        ("inspect",),
        ("images", "--nosuch"),
        ("images", "--sort", "nosuch"),
        ("images", "a", "b"),
        ("nosuch",),
        ("pull", "UPPER"),
        ("pull", "127.0.0.1:1/a/b"),
        ("pull", "--platform", "linux/amd64", "--arch", "arm64", "127.0.0.1:1/a/b"),
        ("logout", "127.0.0.1:1"),
        ("login", "--get-login", "127.0.0.1:1"),
        ("system", "nosuch"),
    ],
)
def test_failures_have_the_same_code(
    cli: Cli, podman: Podman, arguments: tuple[str, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "auth.json").write_text("{}")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    ours, theirs = both(cli, podman, *arguments)
    assert ours.code == theirs.code
    assert bool(ours.err) == bool(theirs.err)
    assert ours.err.count("\n") <= 1
    assert ours.out == theirs.out


def test_a_remote_image_is_shown_as_by_skopeo(cli: Cli, podman: Podman, name: str) -> None:
    for options in ((), ("--config",), ("--raw",), ("--raw", "--config")):
        ours = cli("inspect", *options, f"docker://{name}").stdout
        theirs = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", *options, f"docker://{name}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        if "--raw" in options:
            assert ours == theirs
        else:
            mine, other = json.loads(ours), json.loads(theirs)
            assert {key: mine[key] for key in other} == other
            assert set(mine) - set(other) <= {"LayersData"}


def test_login_is_understood_by_podman_and_back(
    cli: Cli, podman: Podman, auth_registry: Registry, tmp_path: Path
) -> None:
    auth = tmp_path / "auth.json"
    auth.write_text("{}")
    user, _, password = str(auth_registry.credentials).partition(":")
    host = auth_registry.host
    file = ("--authfile", str(auth))
    login = ("login", *file, "--tls-verify=false", "-u", user, "-p", password, host)
    assert cli(*login).stdout == podman(*login).out == "Login Succeeded!\n"
    ours, theirs = both(cli, podman, "login", *file, "--get-login", host)
    assert ours == theirs == (0, f"{user}\n", "")
    assert podman("logout", *file, host).code == 0
    cli(*login)
    ours = cli("logout", *file, host)
    assert ours.stdout == f"Removed login credentials for {host}\n"
    assert podman("login", *file, "--get-login", host).code == 125
