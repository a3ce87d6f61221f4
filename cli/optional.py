"""Options whose value may be left out, as pflag has them: `--tls-verify` or `--tls-verify=false`.

Click would take the next word for the value. Here a value comes after `=` or not at all.
"""

from __future__ import annotations

from typing import Any

import click


class OptionalValue(click.Option):
    """An option that means `flag_value` where no `=VALUE` follows."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Have the parser fill in what was left out."""
        super().add_to_parser(parser, ctx)
        match = parser._match_long_opt

        def filled(name: str, value: str | None, state: Any) -> None:
            if value is None and name in self.opts:
                value = str(self.flag_value)
            match(name, value, state)

        parser._match_long_opt = filled
