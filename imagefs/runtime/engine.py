"""The life of containers in a store: made, started, ended, removed. Relays no output.

A container is its record (which pins the image), a mount of its image, what lasts in the store's
`containers/ID` (log, volumes, files bound into it), and a bundle in the run directory while it is
there. What is made last goes first; each step can be repeated after a crash.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from imagefs.errors import ConflictError, ImagefsError, NotFoundError
from imagefs.oci.config import ImageConfig, RuntimeConfig
from imagefs.runtime import (
    containersconf,
    etcfiles,
    inroot,
    records,
    seccompdefault,
    volumesources,
)
from imagefs.runtime import host as probe_host
from imagefs.runtime.conmon import exit_code
from imagefs.runtime.containersconf import ContainersConf
from imagefs.runtime.devices import host_devices
from imagefs.runtime.driver import Bundle, RuntimeDriver
from imagefs.runtime.drivers import Drivers, conmon_drivers
from imagefs.runtime.errors import (
    CannotInvoke,
    ContainerStateError,
    NoSuchContainerError,
    OptionError,
)
from imagefs.runtime.host import Host
from imagefs.runtime.names import checked, random_name
from imagefs.runtime.options import RunOptions
from imagefs.runtime.process import working_directory
from imagefs.runtime.records import State, Wish
from imagefs.runtime.rootfs import MountedRootfs, Rootfs
from imagefs.runtime.spec import SpecRequest, build_spec, hostname_of
from imagefs.runtime.users import User, resolve, with_entry
from imagefs.runtime.volumes import Volume, parse_volume
from imagefs.store import ContainerRecord, Image, NoSuchImageError, Store

_DEFAULT_PROFILE = "/usr/share/containers/seccomp.json"
_NAME_ATTEMPTS = 20


@dataclass
class Engine:
    """The containers of one store. `warn` gets a line for each wish that is not granted."""

    store: Store
    drivers: Drivers
    rootfs: Rootfs
    conf: ContainersConf
    host: Host
    warn: Callable[[str], None] = field(default=lambda line: None)

    def add(self, image: Image, wish: Wish) -> ContainerRecord:
        """A new container, its root mounted, nothing running; ConflictError if the name is taken.

        On failure nothing of it is left.
        """
        config = self.image_config(image)
        record = self._add_record(image, wish, config)
        try:
            place = self.root_of(record)
            place.mkdir(mode=0o700, parents=True)
            mount = self.rootfs.mount(record, image, place)
            record = msgspec.structs.replace(record, mount=mount)
            self.store.containers.update(record)
        except BaseException:
            self.remove(record)
            raise
        return record

    def create(self, record: ContainerRecord, image: Image) -> Bundle:
        """Have the runtime make an added container; its process waits for `start`.

        Raises OptionError, CannotInvoke, CommandNotFound, RuntimeFailed; the record stays.
        """
        bundle = self.bundle(record)
        request = self._request(record, self.image_config(image))
        spec, warnings = build_spec(request)
        for line in warnings:
            self.warn(line)
        text = json.dumps(spec, indent=1, ensure_ascii=False)
        (bundle.directory / "config.json").write_text(text, "utf-8", "surrogateescape")
        self.driver(record).create(bundle)
        return bundle

    def start(self, record: ContainerRecord) -> ContainerRecord:
        """Let a created container's process go."""
        self.driver(record).start(self.bundle(record))
        return self._write_down(record, State("running", started_ns=time.time_ns()))

    def finish(self, record: ContainerRecord, *, keep: bool = True) -> int:
        """The exit status of a container that was started, once it has ended; its root is unmounted
        then, and what it wrote is kept. Without `keep` all that is left to `remove`.
        """
        bundle = self.bundle(record)
        code = self.driver(record).wait(bundle)
        assert code is not None
        if not keep:
            return code
        started = State.of(record).started_ns
        self._write_down(record, State("exited", code, started, time.time_ns()))
        try:
            self._tear_down(record, discard=False)
        except ImagefsError as error:
            self.warn(f"container {record.id[:12]} is not wholly taken down: {error}")
        return code

    def remove(self, record: ContainerRecord, *, force: bool = False) -> None:
        """Remove a container and what it wrote. Idempotent; with `force` also while it runs."""
        if not force and self.status(record).status == "running":
            raise ContainerStateError(
                f"container {record.id[:12]} is running: stop it first, or use --force"
            )
        self._tear_down(record, discard=True)
        self.store.containers.remove(record.id)

    def status(self, record: ContainerRecord) -> State:
        """Where in its life the container is now, whatever was last written down."""
        kept = State.of(record)
        if kept.status == "exited":
            return kept
        bundle = self.bundle(record)
        if self._runs(record, bundle):
            return State("running", 0, kept.started_ns)
        code = exit_code(bundle)
        if code is None and kept.status == "created":
            return kept
        # It ended while nobody looked; what it ended with is lost if the host went down with it.
        return State("exited", 255 if code is None else code, kept.started_ns)

    def _runs(self, record: ContainerRecord, bundle: Bundle) -> bool:
        """Whether it runs; of a runtime that cannot say, the monitor's word is taken."""
        if not bundle.directory.is_dir():
            return False
        try:
            return self.driver(record).state(bundle) == "running"
        except ImagefsError:
            return State.of(record).status == "running" and exit_code(bundle) is None

    def find(self, text: str) -> ContainerRecord:
        """The container of that name or id; NoSuchContainerError if there is none."""
        record = self.store.containers.get(text)
        if record is None:
            raise NoSuchContainerError(f"{text}: no such container: see `imagefs ps --all`")
        return record

    def driver(self, record: ContainerRecord) -> RuntimeDriver:
        """The driver of the runtime that the container was made for."""
        return self.drivers(records.runtime(record))

    def bundle(self, record: ContainerRecord) -> Bundle:
        """What the driver knows of a container."""
        return Bundle(
            record.id,
            record.name,
            self.store.containers.run_directory(record.id),
            self.store.containers.directory(record.id),
            terminal=bool(record.config.get("Tty")),
            stdin=bool(record.config.get("OpenStdin")),
        )

    def root_of(self, record: ContainerRecord) -> Path:
        """Where the container's root is mounted."""
        return self.store.containers.run_directory(record.id) / "rootfs"

    def image_config(self, image: Image) -> RuntimeConfig:
        """How containers of the image run; NoSuchImageError if its config is gone."""
        raw = self.store.blobs.get(image.config)
        if raw is None:
            raise NoSuchImageError(f"image {image.id[:12]}: its config is gone: pull it again")
        return ImageConfig.parse(raw).config

    def _add_record(self, image: Image, wish: Wish, config: RuntimeConfig) -> ContainerRecord:
        container_id = self.store.containers.new_id()
        hostname = hostname_of(container_id, wish.options, self.host)
        kept = records.config(wish, config, hostname)
        for attempt in range(_NAME_ATTEMPTS):
            record = ContainerRecord(
                id=container_id,
                name=checked(wish.name) if wish.name else random_name(),
                manifest=image.manifest,
                image_name=wish.image_name,
                created_ns=time.time_ns(),
                config=kept,
                state=State("created").to_record(),
            )
            try:
                return self.store.containers.add(record)
            except ConflictError:
                if wish.name or attempt == _NAME_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _request(self, record: ContainerRecord, image: RuntimeConfig) -> SpecRequest:
        """Everything that the spec needs, made where it is not there yet."""
        options = records.options(record)
        root, lasting = self.root_of(record), self.store.containers.directory(record.id)
        passwd = inroot.read_in(root, "/etc/passwd")
        user = self._user(root, image, options, passwd)
        self._make_workdir(root, image, options, user)
        volumes = volumesources.with_image_volumes(
            [*options.volumes, *self._configured_volumes()],
            image.volumes or (),
            [tmpfs.destination for tmpfs in options.tmpfs],
        )
        return SpecRequest(
            container_id=record.id,
            rootfs=str(root),
            image=image,
            options=options,
            conf=self.conf,
            host=self.host,
            user=user,
            files=self._files(record, options, lasting, passwd, user),
            volumes=volumesources.prepare(
                volumes, store_root=self.store.root, lasting=lasting, rootfs=root, user=user
            ),
            seccomp=self._seccomp(options),
            devices=host_devices() if options.privileged else (),
        )

    def _user(self, root: Path, image: RuntimeConfig, options: RunOptions, passwd: bytes) -> User:
        """The user; without an entry in passwd, the working directory is home, as with podman."""
        group = inroot.read_in(root, "/etc/group")
        user = resolve(image.user if options.user is None else options.user, passwd, group)
        return user if user.name else user._replace(home=working_directory(image, options))

    def _make_workdir(
        self, root: Path, image: RuntimeConfig, options: RunOptions, user: User
    ) -> None:
        """The image's working directory is made where it is missing, one given by -w has to be in
        the image or below a mount, as with podman.
        """
        path = working_directory(image, options)
        mounted = [*(image.volumes or ()), *(volume.destination for volume in options.volumes)]
        mounted += [tmpfs.destination for tmpfs in options.tmpfs]
        if any(path == place or path.startswith(f"{place}/") for place in mounted):
            return
        try:
            if options.workdir is None:
                inroot.make_directory_in(root, path, user.uid, user.gid)
            elif inroot.stat_in(root, path) is None and path not in ("/proc", "/sys", "/dev"):
                raise CannotInvoke(f'workdir "{path}" does not exist in the container: make it')
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
                raise
            raise CannotInvoke(f'workdir "{path}": {error.strerror}') from None

    def _configured_volumes(self) -> list[Volume]:
        return [parse_volume(text, Path("/")) for text in self.conf.containers.volumes]

    def _files(
        self, record: ContainerRecord, options: RunOptions, lasting: Path, passwd: bytes, user: User
    ) -> dict[str, str]:
        texts = etcfiles.contents(
            hostname_of(record.id, options, self.host),
            record.name,
            options,
            hosts=etcfiles.host_file("/etc/hosts"),
            resolv_conf=etcfiles.host_file("/etc/resolv.conf"),
            no_hosts=self.conf.containers.no_hosts,
        )
        if options.privileged:
            image = self.store.images.get(record.manifest)
            texts["/run/.containerenv"] = etcfiles.containerenv(
                record.name, record.id, record.image_name, image.id if image else "", "imagefs"
            )
        extended = with_entry(passwd, user, user.home)
        if extended != passwd:
            texts["/etc/passwd"] = extended.decode(errors="surrogateescape")
        taken = {volume.destination for volume in options.volumes}
        wanted = {place: text for place, text in texts.items() if place not in taken}
        return etcfiles.write(lasting / "files", wanted)

    def _seccomp(self, options: RunOptions) -> tuple[bytes, str] | None:
        """The profile's bytes: the one given, the configured, Debian's, or ours."""
        asked = options.security.seccomp
        if options.privileged or asked == "unconfined":
            return None
        configured = self.conf.containers.seccomp_profile
        if not asked and configured == "unconfined":
            return None
        path = asked or configured or _DEFAULT_PROFILE
        try:
            return Path(path).read_bytes(), path
        except OSError as error:
            if not asked and not configured:
                return seccompdefault.profile(), "the built-in seccomp profile"
            raise OptionError(f"seccomp profile {path}: {error.strerror}") from None

    def _write_down(self, record: ContainerRecord, state: State) -> ContainerRecord:
        record = msgspec.structs.replace(record, state=state.to_record())
        with contextlib.suppress(NotFoundError):  # removed by force meanwhile
            self.store.containers.update(record)
        return record

    def _tear_down(self, record: ContainerRecord, *, discard: bool) -> None:
        """Take away all that is there while a container runs; a failure stops nothing of it."""
        bundle = self.bundle(record)
        place = self.root_of(record)
        failed: ImagefsError | None = None
        if bundle.directory.is_dir():
            try:
                self.driver(record).delete(bundle, force=True)
            except ImagefsError as error:
                failed = error
        current = self.store.containers.get(record.id) or record
        self.rootfs.unmount(current, place, discard=discard)
        if failed is not None:
            raise failed
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()
            shutil.rmtree(bundle.directory)


def existing(store: Store, environment: Mapping[str, str]) -> Engine:
    """An engine for containers that are there already, with this host's settings."""
    conf = containersconf.load(environment, privileged=probe_host.is_privileged())
    return Engine(
        store,
        conmon_drivers(store, conf),
        MountedRootfs(store),
        conf,
        probe_host.probe(environment),
    )
