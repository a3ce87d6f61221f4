"""When a request is tried again, and how long it waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.registry.retry import RETRY_AFTER_CAP, RetryPolicy, parse_retry_after


def test_waits_double_up_to_the_cap() -> None:
    policy = RetryPolicy(budget=1000, base=1, cap=8)
    assert [policy.delay(n, 0, 0.999999) for n in range(1, 7)] == pytest.approx(
        [1, 2, 4, 8, 8, 8], rel=1e-3
    )


def test_jitter_takes_up_to_half_away() -> None:
    assert RetryPolicy(base=1).delay(1, 0, 0.0) == 0.5


def test_no_try_begins_after_the_budget() -> None:
    policy = RetryPolicy(budget=10, base=2)
    assert policy.delay(1, 8.9, 0.0) == 1.0
    assert policy.delay(1, 9.1, 0.0) is None


def test_tries_are_counted() -> None:
    policy = RetryPolicy(tries=2)
    assert policy.delay(1, 0, 0) is not None
    assert policy.delay(2, 0, 0) is None


def test_the_registrys_wish_is_a_lower_bound_with_a_cap() -> None:
    policy = RetryPolicy(budget=100, base=1)
    assert policy.delay(1, 0, 0, retry_after=5) == 5
    assert policy.delay(1, 0, 0, retry_after=9999) == RETRY_AFTER_CAP
    assert policy.delay(1, 0, 0, retry_after=0) == 0.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        (None, None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=60.0) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_a_number_or_none(value: str) -> None:
    seconds = parse_retry_after(value, now=0.0)
    assert seconds is None or seconds >= 0
