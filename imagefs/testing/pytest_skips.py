"""A pytest plugin: a test that is skipped without leave fails the run; it changes no test's result.

Leave is a line `TEST-ID-GLOB | FEATURE` in the file that the ini option `allowed_skips` names:
`FEATURE` is what was probed for (a kernel version, a device) and must stand in the skip's reason.
In the glob only `*` is special, since test ids are full of brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Leave:
    """One line of the list: which tests may be skipped, for want of what."""

    tests: re.Pattern[str]
    feature: str

    def covers(self, skip: Skip) -> bool:
        """Tell whether this line allows `skip`."""
        return self.feature in skip.reason and self.tests.fullmatch(skip.test) is not None


@dataclass(frozen=True)
class Skip:
    """A test, or a whole module, that did not run."""

    test: str
    reason: str


def parse_allowed(text: str) -> list[Leave]:
    """Read the list: one `GLOB | FEATURE` a line, `#` begins a comment. Raises ValueError."""
    leaves = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        glob, bar, feature = (part.strip() for part in line.partition("|"))
        if not (glob and bar and feature):
            raise ValueError(f"line {number}: not `GLOB | FEATURE`: {line!r}")
        leaves.append(Leave(re.compile(re.escape(glob).replace(r"\*", ".*")), feature))
    return leaves


def unexcused(skips: list[Skip], leaves: list[Leave]) -> list[Skip]:
    """Return the skips that no line covers, in order."""
    return [skip for skip in skips if not any(leave.covers(skip) for leave in leaves)]


class SkipWatch:
    """Collects the skips of one run, and fails the run at its end for those without leave."""

    def __init__(self, leaves: list[Leave]) -> None:
        self._leaves = leaves
        self._skips: list[Skip] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test; an expected failure is no skip."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skipped itself while it was imported."""
        if report.skipped:
            self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a run that would pass into a failed one."""
        if session.exitstatus == pytest.ExitCode.OK and unexcused(self._skips, self._leaves):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the tests that had no leave."""
        bad = unexcused(self._skips, self._leaves)
        if not bad:
            return
        terminalreporter.section("skipped without leave", red=True)
        for skip in bad:
            terminalreporter.line(f"{skip.test}: {skip.reason}")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self._skips.append(Skip(report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini("allowed_skips", "file of the tests that may be skipped, and why")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch, unless no list was named."""
    name = config.getini("allowed_skips")
    if not name:
        return
    path = Path(config.rootpath, name)
    try:
        leaves = parse_allowed(path.read_text())
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"allowed_skips: {path}: {error}") from None
    config.pluginmanager.register(SkipWatch(leaves), "imagefs-skip-watch")
