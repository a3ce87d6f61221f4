"""An image made of a container starts what the container was started with."""

from __future__ import annotations

from imagefs.oci.config import RuntimeConfig
from imagefs.oci.digest import Digest
from imagefs.runtime.committing import image_config
from imagefs.runtime.options import RunOptions
from imagefs.runtime.records import Wish, config
from imagefs.store import ContainerRecord

IMAGE = RuntimeConfig(
    env=("A=1", "B=2"), cmd=("serve",), entrypoint=("/entry",), labels={"kept": "yes"}
)


def changes(options: RunOptions) -> dict[str, object]:
    wish = Wish(options, "image")
    record = ContainerRecord(
        id="0" * 64,
        name="c",
        manifest=Digest.of(b""),
        image_name="image",
        created_ns=0,
        config=config(wish, IMAGE, "host"),
    )
    return image_config(record, IMAGE)


def test_a_container_without_options_changes_nothing() -> None:
    assert changes(RunOptions()) == {}


def test_options_of_run_become_the_images_defaults() -> None:
    options = RunOptions(
        command=("x", "y"),
        env={"B": "3", "C": "4"},
        user="5",
        workdir="/w",
        labels={"new": "1"},
        stop_signal=9,
    )
    assert changes(options) == {
        "Cmd": ["x", "y"],
        "Env": ["A=1", "B=3", "C=4"],
        "User": "5",
        "WorkingDir": "/w",
        "Labels": {"kept": "yes", "new": "1"},
        "StopSignal": "9",
    }


def test_another_entry_point_drops_the_images_command() -> None:
    assert changes(RunOptions(entrypoint=("/other",))) == {"Entrypoint": ["/other"], "Cmd": []}
