"""The life of containers in a store, with a runtime in memory and roots that are directories."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from imagefs.errors import ConflictError, ImagefsError
from imagefs.oci.digest import Digest
from imagefs.runtime import capabilities
from imagefs.runtime.containersconf import ContainersConf, parse
from imagefs.runtime.engine import Engine
from imagefs.runtime.errors import (
    CannotInvoke,
    CommandNotFound,
    ContainerStateError,
    NoSuchContainerError,
    OptionError,
)
from imagefs.runtime.host import Host
from imagefs.runtime.options import RunOptions, SecurityOptions
from imagefs.runtime.records import State, Wish
from imagefs.runtime.rlimits import Limit
from imagefs.runtime.volumes import Volume
from imagefs.store import ContainerRecord, Image, Store
from imagefs.system.atomic import Disk
from imagefs.testing.roots import DirectoryRootfs
from imagefs.testing.runtimes import MemoryRuntime

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
HOST = Host(
    hostname="vm",
    arch="amd64",
    kernel=(6, 1),
    available=frozenset(capabilities.NAMES),
    limits={"nofile": Limit(1024, 4096)},
    nr_open=1 << 20,
    oom_score_adj=0,
    cgroup_mode="v2",
    controllers=frozenset({"pids"}),
)


def fill(root: Path) -> None:
    """A root with a passwd and a directory of data."""
    for name in ("etc", "data", "work"):
        (root / name).mkdir()
    (root / "etc/passwd").write_text(f"me:x:{os.getuid()}:{os.getgid()}::/home/me:/bin/sh\n")
    (root / "data/file").write_text("from the image")
    (root / "data/link").symlink_to("file")


@dataclass
class World:
    store: Store
    runtime: MemoryRuntime
    rootfs: DirectoryRootfs
    engine: Engine
    warnings: list[str]

    def image(self, **config: Any) -> Image:
        """An image without layers, its files come from the rootfs."""
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        raw = json.dumps(document).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(Digest.of(raw)),
                "size": len(raw),
            },
            "layers": [],
        }
        return self.store.images.add(json.dumps(manifest).encode(), MANIFEST, raw, [])

    def created(
        self, *command: str, image: dict[str, Any] | None = None, **options: Any
    ) -> ContainerRecord:
        """A container that was created, as `me`."""
        found = self.image(**(image or {}))
        wish = Wish(RunOptions(command, **{"user": "me", **options}), "image", runtime="memory")
        record = self.engine.add(found, wish)
        self.engine.create(record, found)
        return record

    def spec(self, record: ContainerRecord) -> dict[str, Any]:
        """Its config.json."""
        bundle = self.engine.bundle(record)
        found: dict[str, Any] = json.loads((bundle.directory / "config.json").read_bytes())
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(tmp_path / "store", tmp_path / "run", disk=Disk(durable=False)) as store:
        runtime, rootfs, warnings = MemoryRuntime(), DirectoryRootfs(fill), list[str]()
        conf = ContainersConf()
        engine = Engine(store, lambda _: runtime, rootfs, conf, HOST, warnings.append)
        yield World(store, runtime, rootfs, engine, warnings)


def test_a_container_lives_and_is_kept_until_removed(world: World) -> None:
    engine = world.engine
    record = world.created("exit", "3")
    assert engine.status(record) == State("created")
    record = engine.start(record)
    # The exit code of the memory runtime comes from `wait` alone.
    assert engine.finish(record) == 3
    kept = engine.find(record.name)
    assert (State.of(kept).status, State.of(kept).exit_code) == ("exited", 3)
    assert State.of(kept).started_ns <= State.of(kept).finished_ns
    assert not world.store.containers.run_directory(record.id).exists()
    assert world.rootfs.log == ["mount", "unmount"]
    engine.remove(kept)
    assert world.rootfs.log[-1] == "discard"
    assert world.store.containers.list() == []
    assert not world.store.containers.directory(record.id).exists()


def test_removing_is_idempotent(world: World) -> None:
    record = world.created("exit", "0")
    world.engine.remove(record)
    world.engine.remove(record)
    with pytest.raises(NoSuchContainerError) as caught:
        world.engine.find(record.name)
    assert caught.value.exit_code == 1


def test_a_running_container_is_removed_only_by_force(world: World) -> None:
    record = world.engine.start(world.created("wait"))
    with pytest.raises(ContainerStateError) as caught:
        world.engine.remove(record)
    assert caught.value.exit_code == 2
    world.engine.remove(record, force=True)
    assert world.runtime.containers == {}


def test_a_container_whose_host_went_down_has_ended(world: World) -> None:
    record = world.engine.start(world.created("wait"))
    world.runtime.containers.clear()
    assert world.engine.status(record).status == "exited"
    assert world.engine.status(record).exit_code == 255


def test_what_fails_to_mount_leaves_no_container(world: World) -> None:
    world.rootfs.before = Faults("mount")
    with pytest.raises(ImagefsError, match="mount failed"):
        world.created("wait")
    assert world.store.containers.list() == []
    assert list((world.store.root / "containers").iterdir()) == []


STEPS = ("create", "start", "delete", "unmount", "discard")


@dataclass
class Faults:
    """Fails one step, once."""

    step: str

    def __call__(self, step: str) -> None:
        if step == self.step:
            self.step = ""
            raise ImagefsError(f"{step} failed")


@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_fails_the_container_can_be_removed(world: World, step: str) -> None:
    faults = Faults(step)
    world.runtime.before = world.rootfs.before = faults
    engine, image = world.engine, world.image()
    wish = Wish(RunOptions(("exit", "3"), user="me"), "image", runtime="memory")
    record = engine.add(image, wish)
    with contextlib.suppress(ImagefsError):
        engine.create(record, image)
        record = engine.start(record)
        assert engine.finish(record) == 3
    for _ in range(2):  # the first may meet the failure itself
        with contextlib.suppress(ImagefsError):
            engine.remove(record, force=True)
    assert faults.step == ""
    assert world.store.containers.list() == []
    assert world.runtime.containers == {}
    assert not world.store.containers.run_directory(record.id).exists()


def test_a_status_counts_whatever_is_left_over(world: World) -> None:
    world.rootfs.before = Faults("unmount")
    record = world.engine.start(world.created("exit", "3"))
    assert world.engine.finish(record) == 3
    assert world.warnings == [
        f"container {record.id[:12]} is not wholly taken down: unmount failed"
    ]


def test_names_are_unique_and_made_up_where_none_is_given(world: World) -> None:
    image = world.image()
    wish = Wish(RunOptions(("wait",)), "image", "one", runtime="memory")
    first = world.engine.add(image, wish)
    with pytest.raises(ConflictError, match="'one' is in use"):
        world.engine.add(image, wish)
    other = world.engine.add(image, replace(wish, name=""))
    assert first.name == "one"
    assert "_" in other.name


def test_a_missing_command_is_told_from_a_failure(world: World) -> None:
    with pytest.raises(CommandNotFound):
        world.created("missing")


def test_the_spec_has_the_files_bound_into_it(world: World) -> None:
    record = world.created("wait", hostname="box")
    binds = {m["destination"]: m["source"] for m in world.spec(record)["mounts"]}
    assert Path(binds["/etc/hostname"]).read_text() == "box\n"
    assert "box" in Path(binds["/etc/hosts"]).read_text()
    assert Path(binds["/run/.containerenv"]).read_text() == ""
    assert "/etc/passwd" not in binds


def test_a_volume_of_the_users_takes_the_place_of_such_a_file(world: World, tmp_path: Path) -> None:
    volume = Volume("bind", str(tmp_path), "/etc/hosts")
    binds = {
        m["destination"]: m["source"]
        for m in world.spec(world.created("wait", volumes=(volume,)))["mounts"]
    }
    assert binds["/etc/hosts"] == str(tmp_path)


def test_a_user_without_an_entry_gets_one_with_the_workdir_as_home(world: World) -> None:
    me = f"{os.getuid() + 1}:{os.getgid()}"
    spec = world.spec(world.created("wait", user=me, workdir="/work"))
    [source] = [m["source"] for m in spec["mounts"] if m["destination"] == "/etc/passwd"]
    assert Path(source).read_text().splitlines()[-1].endswith(":container user:/work:/bin/sh")
    assert "HOME=/work" in spec["process"]["env"]


def test_volumes_of_the_image_are_filled_from_it_for_each_container(world: World) -> None:
    image: dict[str, Any] = {"Volumes": {"/data": {}, "/none": {}}}
    record = world.created("wait", image=image)
    sources = {m["destination"]: Path(m["source"]) for m in world.spec(record)["mounts"]}
    assert (sources["/data"] / "file").read_text() == "from the image"
    assert (sources["/data"] / "link").readlink() == Path("file")
    assert list(sources["/none"].iterdir()) == []
    other = world.created("wait", image=image)
    assert world.spec(other)["mounts"] != world.spec(record)["mounts"]
    world.engine.remove(record)
    assert not sources["/data"].exists()


def test_a_named_volume_is_filled_once_and_outlives_its_containers(world: World) -> None:
    volume = Volume("named", "v", "/data")
    record = world.created("wait", volumes=(volume,))
    data = world.store.root / "volumes/v/_data"
    assert (data / "file").read_text() == "from the image"
    (data / "file").write_text("changed")
    world.engine.remove(record)
    world.created("wait", volumes=(volume,))
    assert (data / "file").read_text() == "changed"


def test_a_named_volume_half_filled_by_a_killed_process_is_filled_anew(world: World) -> None:
    half = world.store.root / "volumes/v/_half"
    half.mkdir(parents=True)
    (half / "rubbish").touch()
    world.created("wait", volumes=(Volume("named", "v", "/data"),))
    assert sorted(p.name for p in (half.parent / "_data").iterdir()) == ["file", "link"]


def test_nocopy_starts_empty(world: World) -> None:
    world.created("wait", volumes=(Volume("named", "v", "/data", ("nocopy",)),))
    assert list((world.store.root / "volumes/v/_data").iterdir()) == []


def test_a_host_path_has_to_be_there(world: World) -> None:
    with pytest.raises(OptionError, match="No such file"):
        world.created("wait", volumes=(Volume("bind", "/no/such/place", "/x"),))


def test_the_images_workdir_is_made_and_the_users_is_not(world: World) -> None:
    record = world.created("wait", image={"WorkingDir": "/made/here"})
    assert (world.engine.root_of(record) / "made/here").is_dir()
    with pytest.raises(CannotInvoke, match="does not exist"):
        world.created("wait", workdir="/not/here")
    world.created("wait", workdir="/work")
    with pytest.raises(CannotInvoke, match="Not a directory"):
        world.created("wait", image={"WorkingDir": "/etc/passwd/x"})


def test_warnings_are_told(world: World) -> None:
    world.engine.host = replace(HOST, available=frozenset({"CAP_CHOWN"}))
    world.created("wait", ulimits=("nofile=5000",))
    assert world.warnings == ["ulimit nofile: this host allows no more than 4096: using that"]


def test_seccomp_profiles_come_from_options_configuration_or_nowhere(
    world: World, tmp_path: Path
) -> None:
    profile = tmp_path / "p.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_LOG"}')
    chosen = SecurityOptions(seccomp=str(profile))
    spec = world.spec(world.created("wait", security=chosen))
    assert spec["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_LOG"
    world.engine.conf = parse({"c": f'[containers]\nseccomp_profile = "{profile}"\n'})
    spec = world.spec(world.created("wait"))
    assert spec["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_LOG"
    unconfined = SecurityOptions(seccomp="unconfined")
    assert "seccomp" not in world.spec(world.created("wait", security=unconfined))["linux"]
    assert "seccomp" not in world.spec(world.created("wait", privileged=True))["linux"]
    with pytest.raises(OptionError, match="seccomp profile /none"):
        world.created("wait", security=SecurityOptions(seccomp="/none"))
