"""`imagefs pull`: the image is whole in the store afterwards, and its id on stdout."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagefs.testing.fake_registry import Fault, Reply

from .conftest import Cli, config_id, manifest_digest, registry_of, served

COMMAND = (sys.executable, "-m", "imagefs_cli")


def whole(cli: Cli, name: str) -> bool:
    with cli.store() as store:
        keys = store.images.require(name).layers
        return all(store.layers.open(key).complete for key in keys)


def test_a_layout_is_pulled(cli: Cli, layout: str) -> None:
    ran = cli.ok("pull", f"{layout}:one")
    assert ran.out == f"{config_id(layout, 'one')}\n"
    assert "layer" in ran.err
    assert whole(cli, config_id(layout, "one"))
    assert cli.ok("pull", "--quiet", f"{layout}:one").err == ""


def test_a_registry_is_pulled_from(cli: Cli, layout: str) -> None:
    with served(registry_of(layout, "team/app", "one", "two")) as host:
        ran = cli.ok("pull", "-q", f"docker://{host}/team/app:one", f"{host}/team/app:two")
        assert ran.lines == [config_id(layout, tag) for tag in ("one", "two")]
        assert cli.ok("inspect", "-f", "{{.RepoTags}}", f"{host}/team/app:one").out == (
            f"[{host}/team/app:one]\n"
        )


def test_dropped_content_comes_back_with_ranges_only(cli: Cli, layout: str) -> None:
    registry = registry_of(layout, "team/app", "one")
    with served(registry) as host:
        name = f"{host}/team/app:one"
        cli.ok("pull", "-q", name)
        cli.ok("system", "gc", "--content")
        assert not whole(cli, name)
        registry.requests.clear()
        ran = cli.ok("pull", name)
        assert ran.err.count("content of") == 6  # begin and end of three layers
        assert whole(cli, name)
        assert cli.ok("system", "fsck").out == ""
        ranged = [r for r in registry.asked("GET .*/blobs/") if "range" in r.headers]
        assert len(ranged) >= 2
        registry.requests.clear()
        cli.ok("pull", "-q", name)
        layers = [layer["digest"] for layer in manifest(layout, "one")["layers"]]
        assert not [r for r in registry.requests if any(digest in r.path for digest in layers)]


def test_what_is_here_needs_no_registry_unless_asked(cli: Cli, layout: str) -> None:
    registry = registry_of(layout, "team/app", "one")
    with served(registry) as host:
        cli.ok("pull", "-q", f"{host}/team/app:one")
    for policy in ("missing", "never"):
        cli.ok("pull", "-q", "--policy", policy, f"{host}/team/app:one")
    cli.ok("pull", "-q", "--policy=newer", f"{host}/team/app:one")
    cli.fails(125, "pull", "-q", f"{host}/team/app:one")
    assert "never" in cli.fails(125, "pull", "--policy=never", f"{host}/team/app:none").err


def test_all_tags(cli: Cli, layout: str) -> None:
    with served(registry_of(layout, "team/app", "one", "two")) as host:
        cli.ok("pull", "-q", "--all-tags", f"{host}/team/app")
        tags = cli.ok("images", "--format", "{{.Repository}}:{{.Tag}}").lines
        assert sorted(tags) == [f"{host}/team/app:one", f"{host}/team/app:two"]
    cli.ok("rmi", "-a")
    assert len(cli.ok("pull", "-q", "-a", layout).lines) == 2


def test_platforms(cli: Cli, layout: str) -> None:
    directory = Path(layout.removeprefix("oci:"))
    index = json.loads((directory / "index.json").read_bytes())
    for entry, architecture in zip(index["manifests"], ("amd64", "arm64"), strict=True):
        entry["platform"] = {"os": "linux", "architecture": architecture}
        del entry["annotations"]
    raw = json.dumps({**index, "mediaType": "application/vnd.oci.image.index.v1+json"}).encode()
    one, two = (config_id(layout, tag) for tag in ("one", "two"))
    registry = registry_of(layout, "team/app", "one", "two")
    registry.manifests["team/app", "many"] = (raw, "application/vnd.oci.image.index.v1+json")
    with served(registry) as host:
        name = f"{host}/team/app:many"
        assert cli.ok("pull", "-q", "--arch", "amd64", name).out == f"{one}\n"
        assert cli.ok("pull", "-q", "--platform", "linux/arm64", name).out == f"{two}\n"
        assert cli.ok("pull", "-q", "--arch=aarch64", "--variant=v8", name).out == f"{two}\n"
        missing = cli.fails(125, "pull", "-q", "--platform", "linux/riscv64", name)
        assert "linux/amd64" in missing.err
        cli.fails(125, "pull", "--os", "linux", "--platform", "linux/arm64", name)
        cli.fails(125, "pull", "--platform", "a/b/c/d", name)


def test_credentials(cli: Cli, layout: str) -> None:
    registry = registry_of(layout, "team/app", "one")
    registry.auth = "basic"
    with served(registry) as host:
        name = f"{host}/team/app:one"
        assert "imagefs login" in cli.fails(125, "pull", "-q", name).err
        refused = cli.fails(125, "pull", "-q", "--creds", "anna:wr0ng", name)
        assert "wr0ng" not in refused.err
        cli.ok("pull", "-q", "--creds", "anna:s3cret", name)
        cli.ok("system", "gc", "--content")
        cli.ok("pull", "-q", "--creds", "anna:s3cret", name)
        assert whole(cli, name)


@pytest.mark.parametrize(
    "name",
    ["", "UPPER", "oci:nowhere:x", "dir:/tmp", "docker:x", "alpine", "docker://a b", "oci:"],
)
def test_bad_names_are_one_line(cli: Cli, name: str) -> None:
    cli.fails(125, "pull", "-q", name)


def test_a_failed_pull_leaves_nothing(cli: Cli, layout: str) -> None:
    registry = registry_of(layout, "team/app", "one")
    layer = manifest(layout, "one")["layers"][1]["digest"]
    reply = Reply(404)
    registry.faults.append(Fault(f"GET .*/blobs/{layer}", "reply", reply=reply, times=99))
    with served(registry) as host:
        cli.fails(125, "pull", "-q", f"{host}/team/app:one")
    assert cli.ok("images", "-qa").out == ""
    cli.ok("system", "gc")
    assert cli.ok("system", "fsck").out == ""
    assert cli.ok("system", "df", "--format", "{{.Type}} {{.Total}}").lines[:2] == [
        "Images 0",
        "Layer content 0",
    ]


def manifest(layout: str, tag: str) -> dict[str, list[dict[str, str]]]:
    directory = Path(layout.removeprefix("oci:"))
    name = manifest_digest(layout, tag).replace(":", "/")
    found: dict[str, list[dict[str, str]]] = json.loads((directory / "blobs" / name).read_bytes())
    return found


def test_an_interrupted_pull_leaves_nothing(cli: Cli, layout: str) -> None:
    blob = manifest(layout, "one")["layers"][2]["digest"]
    registry = registry_of(layout, "team/app", "one")
    registry.faults.append(Fault(f"GET .*/blobs/{blob}", "stall", at=1000))
    with (
        served(registry) as host,
        subprocess.Popen(
            [*COMMAND, "--root", str(cli.root), "pull", f"{host}/team/app:one"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert registry.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "Error: interrupted"
    assert "Traceback" not in err
    assert cli.ok("images", "-qa").out == ""
    cli.ok("system", "gc")
    assert list((cli.root / "tmp").iterdir()) == []
    assert list((cli.root / "layers").iterdir()) == []
    assert cli.ok("system", "fsck").out == ""


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("lay", "localhost/lay:one"),
        ("./.cache/a b/x_", "localhost/cache/a-b/x:one"),
        ("UP/é/a..b", "localhost/up/a-b:one"),
    ],
)
def test_a_layouts_image_is_named_after_its_directory(
    cli: Cli, layout: str, directory: str, name: str
) -> None:
    shutil.copytree(layout.removeprefix("oci:"), cli.home / directory)
    cli.ok("pull", "-q", f"oci:{directory}:one")
    assert cli.ok("images", "--format", "{{.Repository}}:{{.Tag}}").lines == [name]
    cli.ok("pull", "-q", "--policy=never", f"oci:{directory}:one")
