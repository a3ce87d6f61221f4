"""Drivers for the containers of a store, by the runtime that each was made with. Runs nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from imagefs.runtime.conmon import ConmonDriver, Logging
from imagefs.runtime.containersconf import ContainersConf
from imagefs.runtime.driver import RuntimeDriver
from imagefs.runtime.ociruntime import OciRuntime, find_conmon
from imagefs.store import Store

#: From a runtime's path to its driver.
Drivers = Callable[[str], RuntimeDriver]


def conmon_drivers(store: Store, conf: ContainersConf, log_driver: str | None = None) -> Drivers:
    """Drivers that keep their state in the store's run directory; RuntimeMissing without conmon."""
    logging = Logging.from_conf(conf, log_driver)
    conmon = find_conmon(conf, os.environ.get("PATH", os.defpath))

    def driver(runtime: str) -> RuntimeDriver:
        path = Path(runtime)
        state = store.runroot / "runtime" / path.name
        return ConmonDriver(OciRuntime(path, state), conmon, logging, conf.engine.conmon_env_vars)

    return driver
