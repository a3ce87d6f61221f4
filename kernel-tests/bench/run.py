"""Runs benchmarks, prints a table and keeps the figures in .bench/: `run.py [NAME…] [-n ROUNDS]`.

Each line is one run of both sides in turn, so a ratio means something on a busy machine, where the
seconds don't. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # where `bench` and `harness` are

from bench import first_sight, journey, memory, mounting, startup, warm  # noqa: E402 - needs the line above
from bench.measure import Row  # noqa: E402
from bench.scene import Scene, scene  # noqa: E402

BENCHMARKS: dict[str, Callable[[Scene], Iterator[Row]]] = {
    "startup": startup.run,
    "mount": mounting.run,
    "first-sight": first_sight.run,
    "warm": warm.run,
    "memory": memory.run,
    "changes": journey.run_changes,
    "run": journey.run_containers,
}
RESULTS = Path(__file__).resolve().parents[2] / ".bench"
_TERMINATED = 143
_HEADER = f"{'work':44} {'imagefs':>12} {'peer':>12}  {'ratio':>6} {'quartiles':>13}  goal"


def main() -> int:
    """Run what was named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("-n", "--rounds", type=int, help="pairs of each comparison")
    parser.add_argument("--show", action="store_true", help="run nothing: the kept figures again")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = options.names or list(BENCHMARKS)
    if options.show:
        _show(names)
        return 0
    if os.geteuid():
        parser.error("needs root: it mounts")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # clean up then, too
    print(_HEADER, flush=True)
    with scene(options.rounds) as made:
        failed = [name for name in names if not _measure(name, made)]
    return 1 if failed else 0


def _measure(name: str, made: Scene) -> bool:
    """One benchmark; False if something that it needs failed."""
    rows = []
    try:
        for row in BENCHMARKS[name](made):
            print(_line(row), flush=True)
            rows.append(row)
    except (AssertionError, OSError, RuntimeError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    finally:
        _keep(name, rows)
    return True


def _show(names: list[str]) -> None:
    """What docs/performance.md has, from the last runs."""
    print("| work | imagefs | peer | ratio (quartiles) | goal |\n|---|---|---|---|---|")
    for name in names:
        for kept in json.loads((RESULTS / f"{name}.json").read_text())["rows"]:
            del kept["met"]
            row = Row(**kept)
            ours, peer = (_figure(x, row.unit) for x in (row.ours, row.peer))
            print(
                f"| {row.work} | {ours} | {row.peer_name}: {peer} "
                f"| **{row.ratio:.2f}** ({row.low:.2f}–{row.high:.2f}) | {_verdict(row)} |"
            )


def _verdict(row: Row) -> str:
    return {None: "", True: f"{row.goal} met", False: f"{row.goal} MISSED"}[row.met]


def _line(row: Row) -> str:
    spread = f"{row.low:.2f}–{row.high:.2f}"
    ours, peer = (_figure(x, row.unit) for x in (row.ours, row.peer))
    line = f"{row.work:44} {ours:>12} {peer:>12}  {row.ratio:6.2f} {spread:>13}  {_verdict(row)}"
    return f"{line}  [{row.peer_name}]" + (f"\n    {row.note}" if row.note else "")


def _figure(x: float, unit: str) -> str:
    if unit == "s":
        return f"{x:.2f} s" if x >= 1 else f"{x * 1000:.1f} ms"
    return f"{x:.1f} {unit}"


def _keep(name: str, rows: list[Row]) -> None:
    RESULTS.mkdir(exist_ok=True)
    result = {
        "benchmark": name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "rows": [{**asdict(row), "met": row.met} for row in rows],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
