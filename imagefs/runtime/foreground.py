"""`run` in the foreground: our streams, terminal and signals are the container's. Pulls nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from imagefs.runtime import attach, terminal
from imagefs.runtime.engine import Engine
from imagefs.runtime.errors import ContainerStateError
from imagefs.runtime.records import Wish
from imagefs.store import ContainerRecord, Image

_ABORTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What a shell reports of a program whose reader has gone.
BROKEN_PIPE = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class Console:
    """Our side: descriptors of the three streams, and whether signals are passed on."""

    input: int = 0
    output: int = 1
    error: int = 2
    proxy: bool = True


def run(
    engine: Engine,
    image: Image,
    wish: Wish,
    console: Console,
    created: Callable[[str], None] = lambda _: None,
) -> int:
    """Run a new container of `image` to its end; its exit status. `created` gets its id.

    A failure leaves nothing of it; once its command has ended, it is kept unless `wish.remove`.
    KeyboardInterrupt if a signal comes before the start.
    """
    record = engine.add(image, wish)
    try:
        created(record.id)
        with terminal.signals_as_bytes() as wake:
            record, broken = _attached(engine, record, image, console, wake)
            code = engine.finish(record)
    except BaseException:
        engine.remove(record, force=True)
        raise
    if wish.remove:
        engine.remove(record)
    return BROKEN_PIPE if broken else code


def _attached(
    engine: Engine, record: ContainerRecord, image: Image, console: Console, wake: int
) -> tuple[ContainerRecord, bool]:
    """Create, start and relay; the record of what ran, and whether our reader went away."""
    bundle = engine.create(record, image)
    with ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(attach.connect(bundle.directory)))
        ours = bundle.terminal and os.isatty(console.input)
        if ours:
            terminal.resize(bundle.directory, console.input)
        if any(number in _ABORTING for number in terminal.arrived(wake)):
            raise KeyboardInterrupt
        if ours and bundle.stdin:
            stack.enter_context(terminal.raw(console.input))
        record = engine.start(record)

        def on_signal(number: int) -> None:
            if number == signal.SIGWINCH:
                if ours:
                    terminal.resize(bundle.directory, console.input)
            elif console.proxy:
                with contextlib.suppress(ContainerStateError):
                    engine.driver(record).kill(bundle, number)

        source = console.input if bundle.stdin else None
        streams = attach.Streams(source, console.output, console.error)
        try:
            attach.relay(connection, streams, wake, on_signal)
        except BrokenPipeError:
            with contextlib.suppress(ContainerStateError):
                engine.driver(record).kill(bundle, signal.SIGKILL)
            return record, True
    return record, False
