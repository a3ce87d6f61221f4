"""As tests/upper/test_crashes.py, in overlayfs's format."""

from __future__ import annotations

import pytest

from imagefs.testing.faults import SCENARIOS
from imagefs.testing.upper_crashes import fail_at_each_step, kill_at_each_step
from imagefs.upper.dialect import OverlayDialect


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_error_at_any_step_changes_nothing(name: str) -> None:
    assert fail_at_each_step(name, OverlayDialect) > 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_step_leaves_before_or_after(name: str) -> None:
    assert kill_at_each_step(name, OverlayDialect, resend=False) > 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_request_that_is_sent_again_after_a_kill_happens_once(name: str) -> None:
    assert kill_at_each_step(name, OverlayDialect, resend=True) > 0
