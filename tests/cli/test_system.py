"""`imagefs system`: what is taken, what is freed, what is wrong."""

from __future__ import annotations

import pytest

from .conftest import Cli, config_id


@pytest.fixture
def pulled(cli: Cli, layout: str) -> str:
    cli.ok("pull", "-q", f"{layout}:one", f"{layout}:two")
    return layout


def test_df_is_podmans_table(cli: Cli, pulled: str) -> None:
    lines = cli.ok("system", "df").lines
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert lines[1].split()[:3] == ["Images", "2", "0"]
    assert cli.ok("system", "df", "--format", "{{.Type}}\\t{{.Total}}").lines[0] == "Images\t2"
    images = cli.ok("system", "df", "--json").json[0]
    assert (images["Type"], images["TotalCount"]) == ("Images", 2)
    assert 0 < images["RawReclaimable"] <= images["RawSize"]


def test_gc_says_what_it_freed(cli: Cli, pulled: str) -> None:
    assert cli.ok("system", "gc").out == "Total reclaimed space: 0B\n"
    before = {row["Type"]: row for row in cli.ok("system", "df", "--json").json}
    freed = cli.ok("system", "gc", "--content", "--json").json
    assert [one["Kind"] for one in freed] == ["content"] * 3
    assert sum(one["Size"] for one in freed) == before["Layer content"]["RawSize"]
    after = {row["Type"]: row for row in cli.ok("system", "df", "--json").json}
    assert after["Layer content"]["RawSize"] == 0
    assert after["Layer indexes"] == before["Layer indexes"]
    assert cli.ok("system", "gc", "--content", "--format", "{{.Kind}}").out == ""


def test_gc_names_what_is_in_use(cli: Cli, pulled: str) -> None:
    with cli.store() as store:
        key = store.images.require(config_id(pulled, "two")).layers[0]
        with store.layers.open(key):
            ran = cli.ok("system", "gc", "--content")
    assert ran.out.count("content sha256:") == 2
    assert f"Kept: layer {key.blob}" in ran.err


def test_fsck_prints_a_line_for_each_problem(cli: Cli, pulled: str) -> None:
    assert cli.ok("system", "fsck").out == ""
    with cli.store() as store:
        image = store.images.require(config_id(pulled, "two"))
        data = store.layers.path(image.layers[0]) / "data"
    with data.open("r+b") as file:
        file.write(b"damage")
    ran = cli("system", "fsck")
    assert (ran.code, ran.err) == (1, "")
    assert len(ran.lines) == 1
    assert "damaged" in ran.lines[0]
    assert cli("system", "fsck", "--format", "{{.Kind}}").lines == ["layer"]
    assert cli("system", "fsck", "--json").json[0]["Message"] in ran.lines[0]
