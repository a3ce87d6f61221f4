"""Whatever the parsers are fed, they answer or raise our own errors."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from imagefs.errors import ImagefsError
from imagefs.runtime import containersconf, environment, options, rlimits, seccomp, users, volumes
from imagefs.runtime.driver import explain
from imagefs.runtime.ociruntime import said
from imagefs.runtime.seccompdefault import profile

WORDS = st.text(alphabet="/:=,.-[]\"'aA019 zZrow*UO\n\0é", max_size=30) | st.text(max_size=30)
KEYS = st.sampled_from(
    "defaultAction syscalls names action args includes excludes caps arches minKernel archMap "
    "architecture defaultErrno errno index x".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(WORDS)
def test_words_of_options(text: str) -> None:
    for parser in (
        lambda: volumes.parse_volume(text, Path("/here")).mount_options,
        lambda: volumes.parse_tmpfs(text).mount_options,
        lambda: rlimits.parse_ulimit(text),
        lambda: environment.parse([text], {"A": "b"}),
        lambda: environment.parse_file(text, {"A": "b"}, "f"),
        lambda: options.parse_size(text, "-x"),
        lambda: options.parse_signal(text),
        lambda: options.parse_entrypoint(text),
        lambda: options.parse_hostname(text),
        lambda: options.parse_security((text,)),
        lambda: options.parse_network(text),
    ):
        _only_our_errors(parser)


@given(WORDS, st.binary(max_size=80), st.binary(max_size=80))
def test_users(text: str, passwd: bytes, group: bytes) -> None:
    _only_our_errors(lambda: users.resolve(text, passwd, group))


@given(st.lists(st.sampled_from(("root", "x", "0", "7", "", ":", "\n", "#")), max_size=25))
def test_users_of_nearly_right_files(parts: list[str]) -> None:
    text = "".join(parts).encode()
    _only_our_errors(lambda: users.resolve("x:7", text, text))


@given(st.binary(max_size=60))
def test_seccomp_bytes(raw: bytes) -> None:
    _only_our_errors(lambda: seccomp.convert(raw, "f", (), "amd64", (6, 1)))


@given(JSON)
def test_seccomp_documents(document: Any) -> None:
    raw = json.dumps(document).encode()
    _only_our_errors(lambda: seccomp.convert(raw, "f", ("CAP_X",), "amd64", (6, 1)))


@given(st.integers(0, len(profile())))
def test_seccomp_cut_short(length: int) -> None:
    _only_our_errors(lambda: seccomp.convert(profile()[:length], "f", (), "amd64", (6, 1)))


@given(st.text(max_size=60))
def test_containers_conf(text: str) -> None:
    _only_our_errors(lambda: containersconf.parse({"f": text}))
    _only_our_errors(lambda: containersconf.parse({"f": f"[containers]\nenv = {text}"}))


@given(st.text(max_size=60))
def test_what_runtimes_say(text: str) -> None:
    assert "\n" not in str(explain("runc", said(text)))


def _only_our_errors(parser: Any) -> None:
    with contextlib.suppress(ImagefsError):
        parser()
