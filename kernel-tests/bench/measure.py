"""Times two ways of doing the same in turn, and says how they compare. Knows nothing of images."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

#: Does the work once and returns how many seconds of it count.
Timed = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` and `peer` are medians, `low` to `high` the ratios' quartiles.

    `ratio` is the median over pairs. `goal` is what it must be, as text ("<= 1.0"), or "".
    """

    work: str
    unit: str
    ours: float
    peer_name: str
    peer: float
    ratio: float
    low: float
    high: float
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.ratio <= float(bound) if sign == "<=" else self.ratio >= float(bound)


def compare(
    work: str,
    ours: Timed,
    peer: Timed,
    *,
    peer_name: str,
    rounds: int,
    goal: str = "",
    as_rate: bool = False,
    note: str = "",
) -> Row:
    """Run both `rounds` times, in pairs whose order alternates.

    The ratio is ours/peer of the times, or with `as_rate` of the rates (peer/ours): a pair's two
    runs lie next to each other, so that a machine which is busy for a while slows both.
    """
    mine: list[float] = []
    others: list[float] = []
    for i in range(rounds):
        if i % 2:
            others.append(peer())
            mine.append(ours())
        else:
            mine.append(ours())
            others.append(peer())
    ratios = sorted(
        b / a if as_rate else a / b for a, b in zip(mine, others, strict=True) if a and b
    )
    return Row(
        work,
        "s",
        median(mine),
        peer_name,
        median(others),
        median(ratios),
        quantile(ratios, 0.25),
        quantile(ratios, 0.75),
        goal,
        note,
    )


def value(
    work: str, unit: str, ours: float, limit: float, goal: bool = True, note: str = ""
) -> Row:
    """A figure with an upper limit instead of a peer."""
    ratio = ours / limit
    return Row(
        work, unit, ours, "limit", limit, ratio, ratio, ratio, "<= 1.0" if goal else "", note
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value below which `part` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def clock(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_of(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> float:
    """Seconds that a command takes; CalledProcessError with its stderr as a note if it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, check=False
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace')}")
    return took


def read_everything(directory: Path) -> float:
    """Seconds to read each regular file below `directory` once, with find and cat."""
    return seconds_of(["find", directory, "-type", "f", "-exec", "cat", "{}", "+"])
