"""Signals while a container has our terminal, and before."""

from __future__ import annotations

import signal

import pytest

from imagefs.runtime import terminal


def test_signals_arrive_as_bytes_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with terminal.signals_as_bytes() as wake:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGWINCH)
        assert terminal.arrived(wake) == [signal.SIGUSR1, signal.SIGWINCH]
        assert terminal.arrived(wake) == []
    assert signal.getsignal(signal.SIGUSR1) == before


def test_what_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminal.signals_as_bytes() as wake:
            signal.raise_signal(signal.SIGHUP)
            assert terminal.arrived(wake) == []
        with terminal.ending_cleanly():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_process_can_be_cleaned_up_after(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), terminal.ending_cleanly():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before
