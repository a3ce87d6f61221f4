"""What mounts cost in memory: the proportional set size (PSS) of their keepers and servers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, clock, read_everything, seconds_of, value
from bench.scene import Scene

_MANY = 50
_LIMIT_MIB = 80.0


def run(scene: Scene) -> Iterator[Row]:
    """One mount after find and reading everything, then fifty."""
    with scene.fresh_cli() as cli:
        first = cli.mountpoint("first")
        cli("mount", "-q", scene.image, first)
        seconds_of(["find", first, "-ls"])
        read_everything(first)
        pids = _pids(cli("mounts", "--json").stdout)
        kinds = sum((_by_kind(pid) for pid in pids), Counter[str]())
        where = ", ".join(f"{kind} {size / 1024:.1f}" for kind, size in kinds.most_common(6))
        total = sum(map(_pss, pids)) / 1024
        yield value("memory of one mount", "MiB", total, _LIMIT_MIB, note=where)
        places = [cli.mountpoint(f"m{i}") for i in range(_MANY - 1)]
        took = clock(lambda: [cli("mount", "-q", scene.image, place) for place in places])
        total = sum(map(_pss, _pids(cli("mounts", "--json").stdout))) / 1024
        note = f"{total / _MANY:.1f} MiB and {took / (_MANY - 1):.2f} s each; only one was read"
        yield value(f"memory of {_MANY} mounts", "MiB", total, _MANY * _LIMIT_MIB, False, note)
        for place in (first, *places):
            cli("umount", "--discard", place)


def _pids(listing: str) -> list[int]:
    return [mount[key] for mount in json.loads(listing) for key in ("keeper_pid", "server_pid")]


def _pss(pid: int) -> int:
    """KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def _by_kind(pid: int) -> Counter[str]:
    """PSS in KiB by what is mapped."""
    kinds: Counter[str] = Counter()
    kind = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line.startswith("Pss:"):
            kinds[kind] += int(line.split()[1])
        elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            kind = _kind("".join(line.split(maxsplit=5)[5:]))
    return kinds


def _kind(path: str) -> str:
    if path in ("", "[heap]") or path.startswith("[anon"):
        return "heap"
    if path.startswith("["):
        return "stack"
    if ".so" in path:
        return "libraries"
    if "python3" in Path(path).name:
        return "python"
    parts = Path(path).parts
    for part, what in (("layers", "layer indexes and maps"), ("trees", "trees")):
        if part in parts:
            return what
    return "other files"
