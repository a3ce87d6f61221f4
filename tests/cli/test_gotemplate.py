"""Go templates: what text/template prints, and nothing but our own error for garbage."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs_cli.gotemplate import Template, TemplateError

VALUE: dict[str, Any] = {
    "Id": "abc",
    "List": ["x", "y"],
    "Map": {"b": None, "a": 1},
    "Yes": True,
    "Number": 3,
    "Empty": [],
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Id}}", "abc"),
        ("{{ .List }} {{.Map}} {{.Yes}}", "[x y] map[a:1 b:<no value>] true"),
        ("{{.Map.a}} {{.Map.zz}} {{.Nothing.x}}", "1 <no value> <no value>"),
        ("{{json .Map}}", '{"b":null,"a":1}'),
        ("{{json .}}", None),
        ('{{index .List 1}} {{index .Map "a"}} {{len .List}}', "y 1 2"),
        ("{{range .List}}<{{.}}>{{else}}none{{end}}", "<x><y>"),
        ("{{range .Empty}}<{{.}}>{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=x 1=y "),
        ("{{range $k, $v := .Map}}{{$k}};{{end}}", "a;b;"),
        ("{{range $e := .List}}{{$.Id}}{{$e}}{{end}}", "abcxabcy"),
        ("{{if .Yes}}y{{end}}{{if .Empty}}n{{end}}", "y"),
        ("{{if .Empty}}1{{else if eq .Number 3}}2{{else}}3{{end}}.", "2."),
        ("{{if and .Yes (gt .Number 2)}}y{{else}}n{{end}}", "y"),
        ("{{if not .Yes}}y{{else}}n{{end}}", "n"),
        ("{{with .Map}}{{.a}}{{$.Id}}{{else}}no{{end}}", "1abc"),
        ("{{with $x := .Id}}{{$x}}{{.}}{{end}}", "abcabc"),
        ("{{$x := .List}}{{index $x 0}}", "x"),
        ("a {{- .Id -}}   b", "aabcb"),
        ("a {{/* not {{shown */}} b", "a  b"),
        ('{{ "}}" }}{{`\\n`}}', "}}\\n"),
        ('{{.Id | upper | printf "%5s|%q|%d%%" .Id "x" 7}}', None),
        ('{{printf "%5s|%q|%d%%" .Id "x" 7}}', '  abc|"x"|7%'),
        ('{{join .List ", "}} {{(split "a-b" "-")}}', "x, y [a b]"),
        ("{{.Id | upper}}{{println 1 2}}", "ABC1 2\n"),
        ("{{or .Empty .Id}} {{ne 1 2}} {{le 1 1}}", "abc true true"),
    ],
)
def test_templates_print_what_go_prints(template: str, text: str | None) -> None:
    if text is not None:
        assert Template(template).render(VALUE) == text
    else:
        assert Template(template).render(VALUE)


@pytest.mark.parametrize(
    "template",
    """
    {{.Nope}}  {{$.Nope}}  {{.Id.x}}  {{.List.x}}  {{.Id .Id}}  {{.Id  {{}}  {{foo .Id}}  {{$x}}
    {{if .Yes}}  {{end}}  {{else}}  {{if .Yes}}{{else}}{{else}}{{end}}  {{if}}{{end}}
    {{range 3}}{{end}}  {{range .Number}}{{end}}  {{define "x"}}{{end}}  {{break}}
    {{index .List 9}}  {{lt 1 .Id}}  {{len 3}}  {{upper}}  {{printf}}  {{printf "%s"}}
    {{printf "%d" .Id}}  {{.Id | }}  {{| .Id}}  {{(.Id}}  {{.Id)}}  {{"\\x"}}  {{"x}}  {{`x}}
    {{$x := }}  {{, := .Id}}  {{$x $y := .Id}}  {{:= .Id}}  {{.Id | .Id}}
    """.strip()
    .replace("\n    ", "  ")
    .split("  "),
)
def test_bad_templates_are_said_to_be(template: str) -> None:
    with pytest.raises(TemplateError, match="--format"):
        Template(template).render(VALUE)


def test_what_never_ends_is_refused_at_once() -> None:
    for piece in ('""', '"', "`", "{{", "(", "/*", " -"):
        with pytest.raises(TemplateError):
            Template("{{" + piece * 200).render(VALUE)
    for deep in ("{{" + "(" * 5000 + ".Id" + ")" * 5000 + "}}", "{{if .Id}}" * 5000 + "{{end}}"):
        with pytest.raises(TemplateError):
            Template(deep).render(VALUE)


PIECES = st.sampled_from(
    [
        "{{", "}}", "{{-", " -}}", ".Id", ".List", "$x", ":=", "|", "(", ")", ",", "range", "if",
        "else", "end", "with", "index", "printf", "json", "len", "\"%d\"", "\"a\"", "`", " ", "1",
        "-2.5", "nil", "true", "/*", "*/", "text", "\n", "$", ".",
    ]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(" ".join)))
def test_garbage_gives_text_or_our_error(template: str) -> None:
    with suppress(TemplateError):
        assert isinstance(Template(template).render(VALUE), str)
