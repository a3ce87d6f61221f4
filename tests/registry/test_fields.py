"""Header fields and error bodies: ranges, links, messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.registry.errors import BadResponse
from imagefs.registry.fields import (
    ContentRange,
    error_message,
    next_link,
    one_line,
    parse_content_range,
    range_header,
    uploaded,
)


def test_ranges_are_inclusive() -> None:
    assert range_header(5, 10) == "bytes=5-14"
    assert range_header(5) == "bytes=5-"
    assert parse_content_range("bytes 5-14/100") == ContentRange(5, 10, 100)
    assert parse_content_range("bytes 0-0/*") == ContentRange(0, 1, None)


@pytest.mark.parametrize(
    "value", [None, "", "bytes 5-4/10", "bytes 5-10/10", "bytes */10", "5-6/7", "bytes 1-2/3 "]
)
def test_bad_content_ranges_are_refused(value: str | None) -> None:
    with pytest.raises(BadResponse):
        parse_content_range(value)


@pytest.mark.parametrize(
    ("value", "size"), [(None, 0), ("0-0", 0), ("0-99", 100), ("bytes=0-99", 100), ("5-99", 0)]
)
def test_how_much_an_upload_has(value: str | None, size: int) -> None:
    assert uploaded(value) == size


def test_the_next_page_is_found_among_links() -> None:
    base = "https://reg:5000/v2/a/tags/list"
    link = '</first>; rel="first", </v2/a/tags/list?last=x>; rel="next"'
    assert next_link([link], base) == "https://reg:5000/v2/a/tags/list?last=x"
    assert next_link(["<?last=y>; rel=next"], base) == f"{base}?last=y"
    assert next_link(['<x>; rel="prev"'], base) is None
    assert next_link([], base) is None


@pytest.mark.parametrize("target", ["https://evil/x", "http://reg:5000/x", "//evil/x", "ftp://r/"])
def test_a_page_elsewhere_is_refused(target: str) -> None:
    with pytest.raises(BadResponse):
        next_link([f'<{target}>; rel="next"'], "https://reg:5000/v2/")


def test_error_bodies_become_one_line() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no\nway\x1b[31m"}]}).encode()
    assert error_message(body) == ("DENIED", "no way [31m")
    assert len(one_line("x" * 10_000)) <= 200


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(max_size=5), st.lists).map(
        lambda value: json.dumps({"errors": value}).encode()
    )
)
def test_any_error_body_is_survived(body: bytes) -> None:
    code, message = error_message(body)
    assert "\n" not in code + message


@given(st.text(max_size=60))
def test_any_field_is_understood_or_refused(value: str) -> None:
    uploaded(value)
    for parse in (parse_content_range, lambda v: next_link([v], "http://h/v2/")):
        try:
            parse(value)
        except BadResponse:
            pass
