"""Fixtures of the tests of bad input: a registry that lies, and commands that must fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.command import Cli
from harness.hostile import HostileRegistry
from harness.refusals import Refusals


@pytest.fixture
def refused(run_cli: Cli) -> Refusals:
    """`refused("pull", name, says=[…])`: it fails with one line and leaves nothing."""
    return Refusals(run_cli)


@pytest.fixture
def hostile() -> Iterator[HostileRegistry]:
    """An empty registry that serves what it is given."""
    with HostileRegistry() as registry:
        yield registry
