"""`imagefs inspect`: podman's JSON for what is here, skopeo's for what is elsewhere."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from imagefs.mount.table import boot_id
from imagefs.store import ContainerRecord, MountRecord

from .conftest import Cli, config_id, manifest_digest, registry_of, served

PODMAN = [
    "Id", "Digest", "RepoTags", "RepoDigests", "Parent", "Comment", "Created", "Config", "Version",
    "Author", "Architecture", "Os", "Size", "VirtualSize", "GraphDriver", "RootFS", "Labels",
    "Annotations", "ManifestType", "User", "History", "NamesHistory",
]  # fmt: skip
SKOPEO = [
    "Name", "Digest", "RepoTags", "Created", "DockerVersion", "Labels", "Architecture", "Os",
    "Layers", "LayersData", "Env",
]  # fmt: skip


def pulled(cli: Cli, layout: str, name: str = "app") -> str:
    cli.ok("pull", "-q", f"{layout}:one")
    cli.ok("tag", config_id(layout, "one"), name)
    return name


def test_an_image_is_shown_as_by_podman(cli: Cli, layout: str) -> None:
    pulled(cli, layout)
    (image,) = cli.ok("inspect", "app").json
    assert list(image) == PODMAN
    assert image["Id"] == config_id(layout, "one")
    assert image["Digest"] == manifest_digest(layout, "one")
    assert "localhost/app:latest" in image["RepoTags"]
    assert f"localhost/app@{image['Digest']}" in image["RepoDigests"]
    assert image["Config"] == {
        "Cmd": ["/bin/sh"],
        "Env": ["A=b"],
        "Labels": {"k": "v", "l": "w"},
        "User": "7",
    }
    assert image["GraphDriver"]["Name"] == "imagefs"
    assert all(Path(path).is_dir() for path in image["GraphDriver"]["Data"]["Layers"])
    assert len(image["RootFS"]["Layers"]) == 3
    assert [entry["created_by"] for entry in image["History"]] == [
        "ADD gzip",
        "ADD zstd",
        "ADD none",
    ]
    assert (image["User"], image["Os"]) == ("7", "linux")


def test_names_ids_and_digests_find_it(cli: Cli, layout: str) -> None:
    pulled(cli, layout)
    one, digest = config_id(layout, "one"), manifest_digest(layout, "one")
    for name in ("app:latest", one, one[:12], f"sha256:{one}", digest, f"app@{digest}"):
        assert cli.ok("inspect", "--format", "{{.Id}}", name).out == f"{one}\n"


def test_templates(cli: Cli, layout: str) -> None:
    pulled(cli, layout)
    template = (
        "{{.Os}} {{json .Config.Env}} {{index .Config.Cmd 0}} {{.Config.Entrypoint}} "
        "{{range .RootFS.Layers}}.{{end}} {{if .Author}}x{{else}}nobody{{end}}"
    )
    assert cli.ok("inspect", "-f", template, "app").out == 'linux ["A=b"] /bin/sh [] ... nobody\n'
    cli.fails(125, "inspect", "-f", "{{.Nonsense}}", "app")
    cli.fails(125, "inspect", "-f", "{{if}", "app")
    assert cli.ok("inspect", "-f", "json", "app").json == cli.ok("inspect", "--json", "app").json


def test_what_is_missing_is_said_after_what_is_there(cli: Cli, layout: str) -> None:
    pulled(cli, layout)
    ran = cli.fails(125, "inspect", "nosuch", "app")
    assert [image["Id"] for image in ran.json] == [config_id(layout, "one")]
    assert "nosuch" in ran.err
    assert cli.fails(125, "inspect", "nosuch").json == []
    cli.fails(125, "inspect", "--type", "container", "app")
    cli.fails(125, "inspect", "--type", "nonsense", "app")


def test_documents_come_byte_for_byte(cli: Cli, layout: str) -> None:
    pulled(cli, layout)
    for name in ("app", f"{layout}:one"):
        raw = cli.ok("inspect", "--raw", name).out.encode()
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == manifest_digest(layout, "one")
        raw = cli.ok("inspect", "--raw", "--config", name).out.encode()
        assert hashlib.sha256(raw).hexdigest() == config_id(layout, "one")
        assert cli.ok("inspect", "--config", name).json == json.loads(raw)
    cli.fails(125, "inspect", "--raw", "--format", "{{.Id}}", "app")
    cli.fails(125, "inspect", "--raw", "--why-lazy", "app")


def test_a_registrys_image_is_shown_as_by_skopeo(cli: Cli, layout: str) -> None:
    with served(registry_of(layout, "team/app", "one", "two")) as host:
        image = cli.ok("inspect", f"docker://{host}/team/app:one").json
        assert list(image) == SKOPEO
        assert image["Name"] == f"{host}/team/app"
        assert image["RepoTags"] == ["one", "two"]
        assert image["Digest"] == manifest_digest(layout, "one")
        assert image["Layers"] == [layer["Digest"] for layer in image["LayersData"]]
        assert [layer["MIMEType"].rpartition(".")[2] for layer in image["LayersData"]] == [
            "tar+gzip", "tar+zstd", "tar",
        ]  # fmt: skip
        assert image["Env"] == ["A=b"]
        digest = cli.ok("inspect", "-f", "{{.Digest}}", f"docker://{host}/team/app:two").out
        assert digest == f"{manifest_digest(layout, 'two')}\n"
        cli.fails(125, "inspect", f"docker://{host}/team/app:three")
    assert cli.ok("images", "-q").out == ""
    cli.fails(125, "inspect", f"docker://{host}/team/app:one")


def test_a_layouts_image_has_no_name(cli: Cli, layout: str) -> None:
    image = cli.ok("inspect", f"{layout}:one").json
    assert list(image) == SKOPEO[1:]
    assert image["RepoTags"] == []
    cli.fails(125, "inspect", f"{layout}:three")
    cli.fails(125, "inspect", "--type", "mount", f"{layout}:one")


def test_why_lazy_says_it_of_each_layer(cli: Cli, layout: str) -> None:
    before = cli.ok("inspect", "--why-lazy", f"{layout}:one").lines
    assert [line.split(" ", 2)[2].partition(":")[0] for line in before] == ["not known yet"] * 3
    pulled(cli, layout)
    for name in ("app", f"{layout}:one"):
        gzip, zstd, raw = cli.ok("inspect", "--why-lazy", name).lines
        assert " lazy: gzip with one checkpoint" in gzip
        assert " not lazy: zstd in one frame: content streams at first read" in zstd
        assert "converting is the cure" in zstd
        assert " lazy: plain tar" in raw
        assert raw.endswith("(40kB of 40kB here)")
    cli.ok("system", "gc", "--content")
    assert cli.ok("inspect", "--why-lazy", "app").lines[2].endswith("(0B of 40kB here)")


def test_a_container_goes_before_a_mount_before_an_image(
    cli: Cli, layout: str, tmp_path: Path
) -> None:
    pulled(cli, layout)
    with cli.store() as store:
        image = store.images.require("app")
        mount = store.mounts.add(
            MountRecord(
                id="abcdef012345",
                manifest=image.manifest,
                name="localhost/app:latest",
                mountpoint=str(tmp_path / "there"),
                driver="fuse",
                read_only=False,
                created_ns=1_500_000_000_123_456_789,
                boot_id=boot_id(),
            )
        )
        container = store.containers.add(
            ContainerRecord(
                id=store.containers.new_id(),
                name="web",
                manifest=image.manifest,
                image_name="localhost/app:latest",
                created_ns=0,
                mount=mount.id,
                config={"Cmd": ["sleep", "9"], "Imagefs": {"Runtime": "/usr/bin/runc"}},
                state={"Status": "running", "Running": True, "ExitCode": 0, "StartedNs": 1},
            )
        )
    cli.ok("tag", "app", "abcdef012345", "web")
    (found,) = cli.ok("inspect", "abcdef012345").json
    assert (found["Mountpoint"], found["State"]) == (str(tmp_path / "there"), "detached")
    assert found["Created"] == "2017-07-14T02:40:00.123456789Z"
    assert found["Image"] == config_id(layout, "one")
    assert found["UpperDir"] == mount.upper
    assert cli.ok("inspect", f"{tmp_path}/there").json == [found]
    assert cli.ok("inspect", "--type", "mount", "abcdef").json == [found]
    (image_found,) = cli.ok("inspect", "--type", "image", "abcdef012345").json
    assert image_found["Id"] == config_id(layout, "one")
    (web,) = cli.ok("inspect", "web").json
    assert (web["Id"], web["Name"]) == (container.id, "web")
    assert web["GraphDriver"]["Data"]["UpperDir"] == mount.upper
    assert (web["Path"], web["Args"], web["OCIRuntime"]) == ("sleep", ["9"], "runc")
    assert web["Config"] == {"Cmd": ["sleep", "9"]}
    # Its process is not there: whoever wrote that down died with it.
    assert web["State"] == {
        "Status": "exited",
        "Running": False,
        "ExitCode": 255,
        "StartedAt": "1970-01-01T00:00:00.000000001Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "Pid": 0,
    }
    assert cli.ok("inspect", "--type", "image", "-f", "{{.Os}}", "web").out == "linux\n"
