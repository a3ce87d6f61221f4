"""Sizes and ages in podman's words."""

from __future__ import annotations

import pytest

from imagefs_cli.human import age, size

DAY = 86400


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (125_540, "125.5kB"), (5_790_000, "5.79MB"),
     (2 * 10**9, "2GB"), (10**18, "1000PB")],
)  # fmt: skip
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_sizes_of_images_have_three_digits() -> None:
    assert size(114_215, 3, " ") == "114 kB"
    assert size(11_325, 3, " ") == "11.3 kB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"), (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"),
        (60, "About a minute"), (3599, "59 minutes"), (3600, "About an hour"), (7200, "2 hours"),
        (47 * 3600, "47 hours"), (2 * DAY, "2 days"), (13 * DAY, "13 days"), (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"), (60 * DAY, "2 months"), (729 * DAY, "24 months"),
        (56 * 365 * DAY, "56 years"),
    ],
)  # fmt: skip
def test_ages(seconds: int, text: str) -> None:
    assert age(seconds * 10**9) == text
