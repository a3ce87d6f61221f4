"""Whether and when to try a request again. Only decides: has no clock, no dice, never sleeps."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

#: Statuses after which the same request may succeed.
RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
RETRY_AFTER_CAP = 30.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter: `base` seconds, doubled each time up to `cap`.

    `budget` seconds and `tries` bound the whole; `tries` None leaves it to the budget.
    """

    budget: float = 30.0
    tries: int | None = None
    base: float = 0.25
    cap: float = 8.0

    def delay(
        self, failures: int, elapsed: float, dice: float, retry_after: float | None = None
    ) -> float | None:
        """Seconds to wait after the `failures`-th failure, or None to give up.

        `dice` is in [0, 1): the wait is between a half and the whole of the backoff. The registry's
        own `retry_after` is a lower bound. No try begins after the budget.
        """
        if self.tries is not None and failures >= self.tries:
            return None
        backoff = min(self.cap, self.base * 2.0 ** min(failures - 1, 30))
        wait = backoff * (0.5 + dice / 2)
        if retry_after is not None:
            wait = max(wait, min(retry_after, RETRY_AFTER_CAP))
        return wait if elapsed + wait <= self.budget else None


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds in a Retry-After field (a number or a date, RFC 9110 10.2.3); None for garbage."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))
