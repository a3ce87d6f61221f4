"""A pytest plugin: a test during which imagefs logs a warning fails, unless it says it expects one.

Such a test carries `@pytest.mark.expects_warnings`. Other libraries' logs are not looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Generator

import pytest


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.levelname}: {record.getMessage()}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "expects_warnings: imagefs may log warnings in this test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run the test, then fail it for what was logged."""
    warnings = _Warnings()
    logger = logging.getLogger("imagefs")
    logger.addHandler(warnings)
    try:
        yield
    finally:
        logger.removeHandler(warnings)
    if warnings.lines and item.get_closest_marker("expects_warnings") is None:
        pytest.fail("logged by imagefs:\n" + "\n".join(warnings.lines), pytrace=False)
