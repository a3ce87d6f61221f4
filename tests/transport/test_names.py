"""Names of images, as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.errors import ImagefsError, UnsupportedError
from imagefs.transport.names import parse_image_name

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("python", "python"),
        ("python:3.11", "python:3.11"),
        ("localhost/x:1", "localhost/x:1"),
        ("127.0.0.1:5000/slim:1", "127.0.0.1:5000/slim:1"),
        ("[::1]:5000/x", "[::1]:5000/x"),
        ("docker://python", "docker://docker.io/library/python:latest"),
        ("docker://quay.io/a/b", "docker://quay.io/a/b:latest"),
        (f"docker://reg:5000/a@{DIGEST}", f"docker://reg:5000/a@{DIGEST}"),
        (f"docker://reg:5000/a:t@{DIGEST}", f"docker://reg:5000/a:t@{DIGEST}"),
        ("oci:/a/b", "oci:/a/b"),
        ("oci:dir:tag", "oci:dir:tag"),
        ("oci:dir:reg/x:tag", "oci:dir:reg/x:tag"),
        ("oci:dir:@2", "oci:dir:@2"),
        (f"oci:dir@{DIGEST}", f"oci:dir@{DIGEST}"),
    ],
)
def test_names_are_understood(text: str, canonical: str) -> None:
    name = parse_image_name(text)
    assert str(name) == canonical
    assert parse_image_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " x",
        "x\0",
        "UPPER",
        "a//b",
        "a:",
        "a@sha256:12",
        "docker:python",
        "docker://",
        "oci:",
        "oci::tag",
        "oci:dir:@x",
        "-a/b",
        "a/" * 200 + "b",
        "https://reg/x",
    ],
)
def test_bad_names_are_one_line(text: str) -> None:
    with pytest.raises(ImagefsError) as caught:
        parse_image_name(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["docker-archive:/x.tar", "containers-storage:x", "dir:/x"])
def test_other_transports_are_refused_by_name(text: str) -> None:
    with pytest.raises(UnsupportedError, match="transport"):
        parse_image_name(text)


def test_an_upper_case_name_says_what_is_wrong() -> None:
    with pytest.raises(ImagefsError, match="lower case"):
        parse_image_name("quay.io/Team/app")


@given(st.text(max_size=40) | st.text(st.sampled_from("aA1:/@.-_[]oci "), max_size=30))
def test_any_text_is_a_name_or_an_error(text: str) -> None:
    try:
        name = parse_image_name(text)
    except ImagefsError:
        return
    assert parse_image_name(str(name)) == name
