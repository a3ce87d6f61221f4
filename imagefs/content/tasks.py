"""Tasks side by side whose failure is one error. Starts nothing itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def tasks() -> AsyncIterator[trio.Nursery]:
    """A nursery that raises what a task raised, not a group of it: callers catch it by its type.

    Where several fail the first that is no cancellation is raised; an interrupt goes before all.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        raise _one_of(group) from None


def _one_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        else:
            leaves.append(error)
    leaves.sort(key=lambda e: (isinstance(e, trio.Cancelled), isinstance(e, Exception)))
    return leaves[0]
