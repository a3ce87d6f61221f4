"""Options as podman's flag library (pflag) takes them, for a click command. Knows no verb.

Beyond click's forms: `--flag=BOOL` and `-f=BOOL` for switches, and options of podman that are known
but not supported are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from imagefs_cli.optional import OptionalValue

_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")


class PodmanCommand(click.Command):
    """A command whose arguments after the first that is no option are never options of ours."""

    allow_interspersed_args = False

    def __init__(self, *args: Any, refused: dict[str, str], **kwargs: Any) -> None:
        self.refused = refused
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Bring switches with values into click's form, then parse."""
        try:
            return super().parse_args(ctx, _plain(args, self.params))
        except click.NoSuchOption as error:
            name = error.option_name
            if name in self.refused:
                why = self.refused[name] or "not supported"
                raise click.UsageError(f"{name}: {why}", ctx) from None
            raise


def _plain(args: list[str], params: list[click.Parameter]) -> list[str]:
    """`args` with each switch as click wants it: there if its last value is true, else not."""
    switches = {name: p for p in params if _is_switch(p) for name in (*p.opts, *p.secondary_opts)}
    values = {name for p in params if _takes_value(p) for name in p.opts}
    chosen: dict[str, bool] = {}
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--" or word == "-" or not word.startswith("-"):
            rest += [word, *words]
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            if name in switches:
                chosen[switches[name].opts[0]] = _bool(name, value) if equals else True
            else:
                rest.append(word)
                rest += _next(words) if name in values and not equals else []
        else:
            rest += _cluster(word, words, switches, values, chosen)
    return [name for name, on in chosen.items() if on] + rest


def _cluster(
    word: str,
    words: Iterator[str],
    switches: dict[str, click.Parameter],
    values: set[str],
    chosen: dict[str, bool],
) -> list[str]:
    """`-it`, `-i=false`, `-eK=V`, `-ite K=V`: what is left of it when the switches are taken."""
    letters = word[1:]
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        if name not in switches:
            if not letters and name in values:
                return [name, *_next(words)]
            # pflag takes `-e=K` as `-e K`
            return [name + letters.removeprefix("=")] if letters else [name]
        if letters.startswith("="):
            chosen[switches[name].opts[0]] = _bool(name, letters[1:])
            return []
        chosen[switches[name].opts[0]] = True
    return []


def _next(words: Iterator[str]) -> list[str]:
    return [word for word in (next(words, None),) if word is not None]


def _is_switch(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and param.is_flag


def _takes_value(param: click.Parameter) -> bool:
    return (
        isinstance(param, click.Option)
        and not param.is_flag
        and not isinstance(param, OptionalValue)
    )


def _bool(name: str, text: str) -> bool:
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise click.UsageError(f"{name}: {text!r} is neither true nor false")
