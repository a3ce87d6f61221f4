"""`imagefs ps`: the containers of the store."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, pass_settings
from imagefs_cli.human import age
from imagefs_cli.listing import listing_options, show

if TYPE_CHECKING:
    from imagefs.runtime.engine import Engine
    from imagefs.runtime.records import State
    from imagefs.store import ContainerRecord

_COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
}
_SHORT_ID = 12
_SHORT_COMMAND = 20


@click.command(short_help="List containers")
@click.option("--all", "-a", "every", is_flag=True, help="Those that do not run, too.")
@click.option(
    "--filter",
    "-f",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Show only those that fit: ancestor, exited, id, label, name, status.",
)
@click.option("--last", "-n", type=int, metavar="N", help="The N made last, in any state.")
@click.option("--latest", "-l", is_flag=True, help="The one made last, in any state.")
@click.option("--no-trunc", is_flag=True, help="Shorten nothing.")
@click.option("--noheading", is_flag=True, help="Show no headings.")
@click.option("--quiet", "-q", is_flag=True, help="Show ids only.")
@listing_options
@pass_settings
def ps(
    settings: Settings,
    /,
    every: bool,
    filters: tuple[str, ...],
    template: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the containers that run, or all of them."""
    from imagefs.runtime.engine import existing

    count = 1 if options["latest"] else options["last"]
    chosen = [_filter(text) for text in filters]
    every = every or count is not None or any(f.startswith(("status", "exited")) for f in filters)
    engine = existing(settings.store, os.environ)
    rows: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for record in reversed(settings.store.containers.list()):
        state = engine.status(record)
        if (every or state.status == "running") and _fits(chosen, record, state):
            row = _row(engine, record, state, options["no_trunc"])
            rows.append((row, _json(row, record, state)))
    rows = rows if count is None else rows[: max(count, 0)]
    if options["quiet"]:
        for row, _ in rows:
            click.echo(row["ID"])
        return
    show(
        [row for row, _ in rows],
        _COLUMNS,
        template=template,
        as_json=as_json,
        records=[record for _, record in rows],
        heading=not options["noheading"],
    )


def _row(engine: Engine, record: ContainerRecord, state: State, whole: bool) -> dict[str, Any]:
    from imagefs.runtime import records

    command = " ".join(records.command(record))
    if not whole and len(command) > _SHORT_COMMAND:
        command = command[: _SHORT_COMMAND - 3] + "..."
    image = engine.store.images.get(record.manifest)
    labels = record.config.get("Labels", {})
    return {
        "ID": record.id if whole else record.id[:_SHORT_ID],
        "Image": record.image_name,
        "ImageID": image.id if image else "",
        "Command": command,
        "RunningFor": f"{age(time.time_ns() - record.created_ns)} ago",
        "CreatedAt": time.strftime(
            "%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(record.created_ns // 10**9)
        ),
        "Status": _status(state),
        "State": state.status,
        "Ports": "",
        "Names": record.name,
        "Labels": ",".join(f"{name}={value}" for name, value in labels.items()),
        "Mount": record.mount or "",
        "ExitCode": state.exit_code,
    }


def _status(state: State) -> str:
    now = time.time_ns()
    if state.status == "running":
        return f"Up {age(now - state.started_ns)}" if state.started_ns else "Up"
    if state.status == "created":
        return "Created"
    since = f" {age(now - state.finished_ns)} ago" if state.finished_ns else ""
    return f"Exited ({state.exit_code}){since}"


def _json(row: dict[str, Any], record: ContainerRecord, state: State) -> dict[str, Any]:
    """podman's JSON."""
    from imagefs.runtime import records

    return {
        "Id": record.id,
        "Image": record.image_name,
        "ImageID": row["ImageID"],
        "Command": records.command(record),
        "Created": record.created_ns // 10**9,
        "CreatedAt": row["CreatedAt"],
        "StartedAt": state.started_ns // 10**9,
        "Exited": state.status == "exited",
        "ExitedAt": state.finished_ns // 10**9,
        "ExitCode": state.exit_code,
        "State": state.status,
        "Status": row["Status"],
        "Names": [record.name],
        "Labels": record.config.get("Labels", {}),
        "Mounts": [],
        "Ports": None,
        "Mount": record.mount or "",
    }


_Filter = tuple[str, Callable[["ContainerRecord", "State"], bool]]


def _filter(text: str) -> _Filter:
    """A filter's key and its test; those of one key are alternatives, as with podman."""
    key, _, value = text.partition("=")
    tests: dict[str, Callable[[ContainerRecord, State], bool]] = {
        "id": lambda record, _: record.id.startswith(value),
        "name": lambda record, _: re.search(value, record.name) is not None,
        "status": lambda _, state: state.status == value,
        "exited": lambda _, state: state.status == "exited" and str(state.exit_code) == value,
        "label": lambda record, _: _labelled(record, value),
        "ancestor": lambda record, _: (
            value in (record.image_name, record.image_name.rpartition("/")[2], str(record.manifest))
        ),
    }
    if key not in tests:
        raise click.UsageError(f"--filter {text}: not one of {', '.join(sorted(tests))}")
    if key == "name":
        try:
            re.compile(value)
        except re.error as error:
            raise click.UsageError(f"--filter {text}: {error}") from None
    return (f"{key}={value}" if key == "label" else key), tests[key]


def _labelled(record: ContainerRecord, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    labels = record.config.get("Labels", {})
    return name in labels and (not equals or labels[name] == value)


def _fits(filters: list[_Filter], record: ContainerRecord, state: State) -> bool:
    keys = {key for key, _ in filters}
    return all(any(test(record, state) for k, test in filters if k == key) for key in keys)
