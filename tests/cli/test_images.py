"""`imagefs images`, `tag` and `rmi`: what they print, choose and exit with."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagefs.mount.table import boot_id
from imagefs.store import MountRecord

from .conftest import Cli, config_id, manifest_digest

KEYS = {
    "Id", "ParentId", "RepoTags", "RepoDigests", "Size", "SharedSize", "VirtualSize", "Labels",
    "Containers", "Names", "Digest", "History", "Created", "CreatedAt",
}  # fmt: skip


@pytest.fixture
def both(cli: Cli, layout: str) -> str:
    """The layout, whose images are in the store as app:one and app:two."""
    for tag in ("one", "two"):
        cli.ok("pull", "-q", f"{layout}:{tag}")
        cli.ok("tag", config_id(layout, tag), f"quay.io/team/app:{tag}")
        for name in listed(cli):
            if not name.startswith("quay.io"):
                cli.ok("rmi", name)
    return layout


NAMES = "{{.Repository}}:{{.Tag}}"


def listed(cli: Cli, *options: str) -> list[str]:
    return cli.ok("images", "--format", NAMES, *options).lines


def test_an_empty_store_lists_headings_only(cli: Cli) -> None:
    assert cli.ok("images").lines == ["REPOSITORY  TAG         IMAGE ID    CREATED     SIZE"]
    assert cli.ok("images", "--noheading").out == ""
    assert cli.ok("images", "--json").json == []
    assert cli.ok("images", "-q").out == ""


def test_a_row_for_each_name(cli: Cli, both: str) -> None:
    cli.ok("tag", "quay.io/team/app:one", "other", "docker.io/library/x:1")
    one, two = (config_id(both, tag)[:12] for tag in ("one", "two"))
    rows = [line.split()[:3] for line in cli.ok("images", "-n", "--sort", "repository").lines]
    assert sorted(rows) == [
        ["docker.io/library/x", "1", one],
        ["localhost/other", "latest", one],
        ["quay.io/team/app", "one", one],
        ["quay.io/team/app", "two", two],
    ]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert sorted(cli.ok("images", "-q").lines) == sorted((one, two))
    assert f"sha256:{config_id(both, 'one')}" in cli.ok("images", "-q", "--no-trunc").lines
    assert manifest_digest(both, "one") in cli.ok("images", "--digests").out


def test_json_has_podmans_keys(cli: Cli, both: str) -> None:
    found = {record["Id"]: record for record in cli.ok("images", "--json").json}
    record = found[config_id(both, "one")]
    assert set(record) == KEYS
    assert record["Names"] == ["quay.io/team/app:one"]
    assert record["RepoDigests"] == [f"quay.io/team/app@{manifest_digest(both, 'one')}"]
    assert record["Labels"] == {"k": "v", "l": "w"}
    assert (record["Created"], record["CreatedAt"]) == (0, "1970-01-01T00:00:00Z")
    assert record["Size"] > 3 * 9999
    assert cli.ok("images", "--format", "json").json == cli.ok("images", "--json").json


def test_templates_name_podmans_fields(cli: Cli, both: str) -> None:
    line = "{{.ID}} {{.Repository}} {{.Tag}} {{.Digest}} {{json .Labels}} {{.Dangling}}"
    assert cli.ok("images", "app:two", "--format", line).lines == [
        f"{config_id(both, 'two')[:12]} quay.io/team/app two {manifest_digest(both, 'two')} "
        "null false"
    ]
    table = cli.ok("images", "--format", "table {{.Tag}}\\t{{.ID}}").lines
    assert table[0] == "TAG         IMAGE ID"
    cli.fails(125, "images", "--format", "{{.Nonsense}}")


@pytest.mark.parametrize(
    ("condition", "tags"),
    [
        ("reference=app:two", {"two"}),
        ("reference=quay.io/*/app", {"one", "two"}),
        ("reference=*", {"one", "two"}),
        ("reference=quay.io/*", set()),
        ("reference=app:t?o", {"two"}),
        ("label=k", {"one"}),
        ("label=k=v", {"one"}),
        ("label=k=w", set()),
        ("label!=k", {"two"}),
        ("dangling=true", set()),
        ("dangling=false", {"one", "two"}),
        ("containers=true", set()),
        ("before=app:one", set()),
        ("since=app:one", set()),
        ("until=1h", {"one", "two"}),
        ("until=1969-12-31T23:59:59Z", set()),
        ("until=1970-01-01T01:00:00+00:30", {"one", "two"}),
    ],
)
def test_filters(cli: Cli, both: str, condition: str, tags: set[str]) -> None:
    found = {name.rpartition(":")[2] for name in listed(cli, "--filter", condition)}
    assert found == tags


def test_filters_of_one_key_are_alternatives(cli: Cli, both: str) -> None:
    either = ("-f", "reference=app:one", "-f", "reference=app:two")
    assert len(listed(cli, *either)) == 2
    assert listed(cli, *either, "-f", "label=k") == ["quay.io/team/app:one"]
    assert listed(cli, "-f", f"id={config_id(both, 'two')[:9]}") == ["quay.io/team/app:two"]


@pytest.mark.parametrize(
    "condition",
    [
        "nonsense=1",
        "dangling",
        "dangling=perhaps",
        "until=soon",
        "before=nosuch",
        "reference=[z-a]",
    ],
)
def test_bad_filters_are_named(cli: Cli, both: str, condition: str) -> None:
    cli.fails(125, "images", "-f", condition)


def test_an_image_argument_is_a_name_or_an_id(cli: Cli, both: str) -> None:
    assert listed(cli, "app:one") == ["quay.io/team/app:one"]
    assert listed(cli, config_id(both, "two")[:12]) == ["quay.io/team/app:two"]
    assert listed(cli, "nosuch") == []


def test_tag_takes_a_name_over(cli: Cli, both: str) -> None:
    cli.ok("tag", "app:one", "mine", "mine:2")
    cli.ok("tag", "app:two", "mine")
    assert set(listed(cli, "localhost/mine:latest")) == {
        "localhost/mine:latest",
        "quay.io/team/app:two",
    }
    one = cli.ok("inspect", "-f", "{{.RepoTags}}", "app:one").out
    assert one == "[localhost/mine:2 quay.io/team/app:one]\n"
    assert "localhost/mine:latest" in cli.ok("inspect", "-f", "{{.RepoTags}}", "app:two").out


@pytest.mark.parametrize("name", ["UPPER", "a:b:c", f"a@sha256:{'0' * 64}", "", "-"])
def test_a_bad_name_is_given_to_nothing(cli: Cli, both: str, name: str) -> None:
    cli.fails(125, "tag", "app:one", "good", name)
    assert cli.ok("inspect", "-f", "{{len .RepoTags}}", "app:one").out == "1\n"


def test_what_is_not_there_cannot_be_tagged(cli: Cli) -> None:
    assert "nosuch" in cli.fails(125, "tag", "nosuch", "x").err


def test_rmi_takes_names_and_with_the_last_the_image(cli: Cli, both: str) -> None:
    cli.ok("tag", "app:one", "mine")
    assert cli.ok("rmi", "mine").out == "Untagged: localhost/mine:latest\n"
    assert cli.ok("rmi", "app:one").lines == [
        "Untagged: quay.io/team/app:one",
        f"Deleted: {config_id(both, 'one')}",
    ]
    assert listed(cli) == ["quay.io/team/app:two"]


def test_rmi_by_id_needs_force_where_there_are_several_names(cli: Cli, both: str) -> None:
    cli.ok("tag", "app:one", "mine")
    one = config_id(both, "one")
    assert "mine" in cli.fails(125, "rmi", one[:12]).err
    assert cli.ok("rmi", "-f", one[:12]).lines == [
        "Untagged: localhost/mine:latest",
        "Untagged: quay.io/team/app:one",
        f"Deleted: {one}",
    ]


def test_rmi_exit_codes_are_podmans(cli: Cli, both: str, tmp_path: Path) -> None:
    assert "nosuch" in cli.fails(1, "rmi", "nosuch").err
    assert cli.ok("rmi", "--ignore", "nosuch").out == ""
    used(cli, tmp_path)
    assert f"{tmp_path}/there" in cli.fails(2, "rmi", "app:one").err
    ran = cli("rmi", "nosuch", "app:one", "app:two")
    assert ran.code == 2
    assert ran.err.count("Error: ") == 2
    assert ran.lines[-1] == f"Deleted: {config_id(both, 'two')}"
    cli.fails(125, "rmi")
    cli.fails(125, "rmi", "--all", "app:one")


def test_rmi_by_force_leaves_what_is_in_use_without_a_name(
    cli: Cli, both: str, tmp_path: Path
) -> None:
    used(cli, tmp_path)
    ran = cli("rmi", "-f", "app:one")
    assert (ran.code, ran.out) == (0, "Untagged: quay.io/team/app:one\n")
    assert "in use" in ran.err
    assert "<none>:<none>" in listed(cli, "-f", "dangling=true")
    record = cli.ok("images", "-f", "dangling=true", "--json").json[0]
    assert record["Dangling"] is True
    assert "Names" not in record


def test_rmi_all_empties_the_store(cli: Cli, both: str) -> None:
    cli.ok("tag", "app:one", "mine")
    ran = cli.ok("rmi", "--all")
    assert [line for line in ran.lines if line.startswith("Deleted: ")] != []
    assert cli.ok("images", "-qa").out == ""
    assert cli.ok("rmi", "--all").out == ""


def used(cli: Cli, tmp_path: Path) -> None:
    """Put a record into the store that says that app:one is mounted."""
    with cli.store() as store:
        image = store.images.require("app:one")
        store.mounts.add(
            MountRecord(
                id=store.mounts.new_id(),
                manifest=image.manifest,
                name="quay.io/team/app:one",
                mountpoint=str(tmp_path / "there"),
                driver="fuse",
                read_only=True,
                created_ns=1,
                boot_id=boot_id(),
            )
        )


def test_an_id_is_no_name(cli: Cli, both: str) -> None:
    cli.fails(125, "tag", "app:one", config_id(both, "two"))
