"""WWW-Authenticate by RFC 9110's grammar: what is right is understood, garbage is our error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.registry.challenge import Challenge, parse_challenges
from imagefs.registry.errors import BadResponse


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Negotiate", [Challenge("negotiate")]),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ('BASIC Realm = "a, b=c"', [Challenge("basic", {"realm": "a, b=c"})]),
        (r'Basic realm="say \"hi\" \\"', [Challenge("basic", {"realm": 'say "hi" \\'})]),
        (
            'Bearer realm="https://t/token",service=reg,scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://t/token",
                        "service": "reg",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            'Newauth realm="apps", type=1, title="x", Basic realm="simple"',
            [
                Challenge("newauth", {"realm": "apps", "type": "1", "title": "x"}),
                Challenge("basic", {"realm": "simple"}),
            ],
        ),
        (
            'Negotiate dG9rZW4=, , Basic realm="s"',
            [Challenge("negotiate", token68="dG9rZW4="), Challenge("basic", {"realm": "s"})],
        ),
        ("Negotiate, NTLM", [Challenge("negotiate"), Challenge("ntlm")]),
    ],
)
def test_challenges_are_understood(field: str, expected: list[Challenge]) -> None:
    assert parse_challenges([field]) == expected


def test_several_fields_are_one_list() -> None:
    found = parse_challenges(['Basic realm="a"', "Bearer realm=b"])
    assert [challenge.scheme for challenge in found] == ["basic", "bearer"]


@pytest.mark.parametrize(
    "field",
    ['Basic realm="open', 'Basic realm="a" realm="b"', "B a=1,a=2", "B a=b c=d", '"x"', "=,"],
)
def test_garbage_is_refused(field: str) -> None:
    with pytest.raises(BadResponse):
        parse_challenges([field])


@given(st.text(alphabet=st.sampled_from('aB9=",\\ \t;/~é\x00'), max_size=40))
def test_any_field_is_understood_or_refused(field: str) -> None:
    try:
        for challenge in parse_challenges([field]):
            assert challenge.scheme
    except BadResponse:
        pass


_token = st.text(alphabet="abcXYZ019-_.~", min_size=1, max_size=8)
_value = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(st.lists(st.tuples(_token, st.dictionaries(_token.map(str.lower), _value, min_size=1))))
def test_what_is_written_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    field = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in params.items())
        for scheme, params in challenges
    )
    expected = [Challenge(scheme.lower(), params) for scheme, params in challenges]
    assert parse_challenges([field]) == expected
