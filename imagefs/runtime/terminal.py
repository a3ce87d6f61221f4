"""Our terminal while a container has it: raw mode, window size, signals. Relays nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import tty
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

#: What is passed on to the container: all that a process can catch and others send.
PROXIED = tuple(
    getattr(signal, name)
    for name in ("SIGHUP SIGINT SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGTERM SIGCONT SIGTSTP").split()
)
_RESIZE = 1


@contextlib.contextmanager
def signals_as_bytes() -> Iterator[int]:
    """A descriptor that gives the number of each signal that arrives, for the block.

    Only in the main thread. What arrives during the block has no other effect.
    """
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = {number: signal.getsignal(number) for number in (*PROXIED, signal.SIGWINCH)}
    old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        for number in before:
            # A signal that was ignored, as under nohup, stays so.
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, _nothing)
        yield read
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old)
        os.close(read)
        os.close(write)


def arrived(wake: int) -> list[int]:
    """The signals that have arrived, without waiting for one."""
    try:
        return list(os.read(wake, 4096))
    except BlockingIOError:
        return []


@contextlib.contextmanager
def ending_cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does: what is begun is undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """The terminal passes every key on, for the block."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def resize(directory: Path, fd: int) -> None:
    """Tell the monitor of the container in `directory` the window size of our terminal `fd`."""
    try:
        columns, lines = os.get_terminal_size(fd)
        control = os.open(directory / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # the terminal or the container is gone: nobody looks at it any more
    try:
        os.write(control, f"{_RESIZE} {lines} {columns}\n".encode())
    except (BlockingIOError, BrokenPipeError):
        pass
    finally:
        os.close(control)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass
