"""Prints what went wrong as the one line that users read. Decides no exit code."""

from __future__ import annotations

import sys


def complain(error: object) -> None:
    """`Error: …` on stderr, in one line whatever the message holds."""
    line = " ".join(str(error).split("\n"))
    print("Error: " + line.encode(errors="backslashreplace").decode(), file=sys.stderr)
