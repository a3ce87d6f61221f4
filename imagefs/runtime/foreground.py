"""`run` in the foreground: our streams, terminal and signals are the container's. Pulls nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from imagefs.errors import ImagefsError
from imagefs.runtime import attach, terminal
from imagefs.runtime.driver import Bundle
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

    A failure before its command starts leaves nothing of it, so does KeyboardInterrupt, which a
    signal becomes until then. After that it is kept unless `wish.remove`.
    """
    record = engine.add(image, wish)
    with terminal.signals_as_bytes() as wake, ExitStack() as stack:
        try:
            created(record.id)
            bundle = engine.create(record, image)
            connection = stack.enter_context(contextlib.closing(attach.connect(bundle.directory)))
            ours = _give_terminal(bundle, console, stack)
            if any(number in _ABORTING for number in terminal.arrived(wake)):
                raise KeyboardInterrupt
            record = engine.start(record)
        except BaseException:
            stack.close()
            engine.remove(record, force=True)
            raise
        try:
            broken = _relay(engine, record, connection, console, wake, ours)
            stack.close()
            code = engine.finish(record, keep=not wish.remove)
        finally:
            if wish.remove:
                _remove(engine, record)
    return BROKEN_PIPE if broken else code


def _give_terminal(bundle: Bundle, console: Console, stack: ExitStack) -> bool:
    """Make our terminal the container's until `stack` is closed; whether there is one to give."""
    if not (bundle.terminal and os.isatty(console.input)):
        return False
    terminal.resize(bundle.directory, console.input)
    if bundle.stdin:
        stack.enter_context(terminal.raw(console.input))
    return True


def _relay(
    engine: Engine,
    record: ContainerRecord,
    connection: socket.socket,
    console: Console,
    wake: int,
    ours: bool,
) -> bool:
    """Relay to the end; True if our output's reader went away, and the container with it."""
    bundle, driver = engine.bundle(record), engine.driver(record)

    def on_signal(number: int) -> None:
        if number == signal.SIGWINCH:
            if ours:
                terminal.resize(bundle.directory, console.input)
        elif console.proxy:
            with contextlib.suppress(ContainerStateError):
                driver.kill(bundle, number)

    source = console.input if bundle.stdin else None
    streams = attach.Streams(source, console.output, console.error)
    try:
        attach.relay(connection, streams, wake, on_signal)
    except BrokenPipeError:
        with contextlib.suppress(ContainerStateError):
            driver.kill(bundle, signal.SIGKILL)
        return True
    return False


def _remove(engine: Engine, record: ContainerRecord) -> None:
    """The command has run, and its status counts: what is left over is only warned about."""
    try:
        engine.remove(record, force=True)
    except ImagefsError as error:
        engine.warn(f"container {record.id[:12]} could not be removed: {error}")
