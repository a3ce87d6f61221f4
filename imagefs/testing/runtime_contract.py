"""What every RuntimeDriver must do, as tests. Knows no runtime itself.

A driver's test module subclasses RuntimeContract and says how to make a Stand.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from imagefs.runtime.driver import Bundle, RuntimeDriver
from imagefs.runtime.errors import CannotInvoke, CommandNotFound, ContainerStateError


class Stand(Protocol):
    """A driver, and bundles for it; what is left of them is gone after the test."""

    @property
    def driver(self) -> RuntimeDriver:
        """The driver to test."""

    def exits(self, code: int) -> Bundle:
        """A container whose process ends with `code`."""

    def waits(self) -> Bundle:
        """A container whose process runs until it is killed."""

    def missing(self) -> Bundle:
        """A container whose command is not there."""

    def forbidden(self) -> Bundle:
        """A container whose command cannot be executed."""


class RuntimeContract:
    """The life of one container, state by state."""

    def stand(self, directory: Path) -> AbstractContextManager[Stand]:
        """Make a driver that keeps its state in `directory`."""
        raise NotImplementedError

    @pytest.fixture
    def runtime(self, tmp_path: Path) -> Iterator[Stand]:
        """The stand of one test."""
        with self.stand(tmp_path) as stand:
            yield stand

    def test_a_container_goes_through_its_states(self, runtime: Stand) -> None:
        """Absent, created, running, stopped, absent."""
        driver, bundle = runtime.driver, runtime.waits()
        assert driver.state(bundle) == "absent"
        driver.create(bundle)
        assert driver.state(bundle) == "created"
        driver.start(bundle)
        assert driver.state(bundle) == "running"
        driver.kill(bundle, signal.SIGKILL)
        assert driver.wait(bundle) == 128 + signal.SIGKILL
        assert driver.state(bundle) == "stopped"
        driver.delete(bundle)
        assert driver.state(bundle) == "absent"

    @pytest.mark.parametrize("code", [0, 1, 42, 255])
    def test_the_exit_status_comes_through_as_often_as_asked(
        self, runtime: Stand, code: int
    ) -> None:
        """And after it was waited for."""
        driver, bundle = runtime.driver, runtime.exits(code)
        driver.create(bundle)
        driver.start(bundle)
        assert [driver.wait(bundle), driver.wait(bundle, 0)] == [code, code]

    def test_waiting_can_end_without_an_exit(self, runtime: Stand) -> None:
        """None says that it still runs."""
        driver, bundle = runtime.driver, runtime.waits()
        driver.create(bundle)
        driver.start(bundle)
        assert driver.wait(bundle, 0) is None

    def test_a_running_container_is_deleted_only_by_force(self, runtime: Stand) -> None:
        """And force kills it."""
        driver, bundle = runtime.driver, runtime.waits()
        driver.create(bundle)
        driver.start(bundle)
        with pytest.raises(ContainerStateError):
            driver.delete(bundle)
        assert driver.state(bundle) == "running"
        driver.delete(bundle, force=True)
        assert driver.state(bundle) == "absent"

    def test_a_created_container_can_be_deleted(self, runtime: Stand) -> None:
        """Its process never began."""
        driver, bundle = runtime.driver, runtime.waits()
        driver.create(bundle)
        driver.delete(bundle, force=True)
        assert driver.state(bundle) == "absent"

    def test_deleting_is_idempotent(self, runtime: Stand) -> None:
        """What is not there is deleted already."""
        driver, bundle = runtime.driver, runtime.exits(0)
        driver.delete(bundle)
        driver.create(bundle)
        driver.start(bundle)
        driver.wait(bundle)
        driver.delete(bundle)
        driver.delete(bundle)
        assert driver.state(bundle) == "absent"

    def test_a_container_is_created_once(self, runtime: Stand) -> None:
        """The second attempt changes nothing."""
        driver, bundle = runtime.driver, runtime.waits()
        driver.create(bundle)
        with pytest.raises(ContainerStateError):
            driver.create(bundle)
        assert driver.state(bundle) == "created"

    def test_a_deleted_container_can_be_created_again(self, runtime: Stand) -> None:
        """Its old exit status is forgotten."""
        driver, bundle = runtime.driver, runtime.waits()
        for _ in range(2):
            driver.create(bundle)
            driver.start(bundle)
            assert driver.wait(bundle, 0) is None
            driver.delete(bundle, force=True)

    def test_what_does_not_run_gets_no_signals(self, runtime: Stand) -> None:
        """Neither before nor after."""
        driver, bundle = runtime.driver, runtime.exits(0)
        with pytest.raises(ContainerStateError):
            driver.kill(bundle, signal.SIGTERM)
        driver.create(bundle)
        driver.start(bundle)
        driver.wait(bundle)
        with pytest.raises(ContainerStateError):
            driver.kill(bundle, signal.SIGTERM)

    def test_a_missing_command_leaves_no_container(self, runtime: Stand) -> None:
        """127, as podman."""
        bundle = runtime.missing()
        with pytest.raises(CommandNotFound) as caught:
            runtime.driver.create(bundle)
        assert caught.value.exit_code == 127
        assert runtime.driver.state(bundle) == "absent"

    def test_a_command_that_cannot_be_executed_leaves_no_container(self, runtime: Stand) -> None:
        """126, as podman."""
        bundle = runtime.forbidden()
        with pytest.raises(CannotInvoke) as caught:
            runtime.driver.create(bundle)
        assert caught.value.exit_code == 126
        assert runtime.driver.state(bundle) == "absent"
