"""The runtime spec that image config, options and host give, compared with podman 4.3's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime import capabilities, rlimits
from imagefs.runtime.containersconf import ContainersConf, parse
from imagefs.runtime.errors import OptionError
from imagefs.runtime.host import Host
from imagefs.runtime.options import RunOptions, SecurityOptions
from imagefs.runtime.rlimits import Limit
from imagefs.runtime.spec import SpecRequest, build_spec
from imagefs.runtime.users import User
from imagefs.runtime.volumes import Tmpfs, Volume

ROOT = User(0, 0, (), "root", "/root")
SOMEBODY = User(100, 200, (300,), "u", "/home/u")
HOST = Host(
    hostname="vm",
    arch="amd64",
    kernel=(6, 1),
    available=frozenset(capabilities.NAMES) - {"CAP_SYS_RESOURCE"},
    limits={"nofile": Limit(1024, 20000), "nproc": Limit(95000, 95000)},
    nr_open=1 << 20,
    oom_score_adj=0,
    cgroup_mode="hybrid",
    controllers=frozenset({"pids", "memory"}),
)
ID = "ab" * 32
SHELL = RunOptions(command=("sh",))
BARE = RuntimeConfig()
UNCONFIGURED = ContainersConf()


def spec(
    options: RunOptions = SHELL,
    image: RuntimeConfig = BARE,
    host: Host = HOST,
    conf: ContainersConf = UNCONFIGURED,
    user: User = ROOT,
    **changes: Any,
) -> dict[str, Any]:
    request = SpecRequest(ID, "/r", image, options, conf, host, user, {}, (), None)
    return build_spec(replace(request, **changes))[0]


def mount_at(found: dict[str, Any], place: str) -> dict[str, Any]:
    [mount] = [m for m in found["mounts"] if m["destination"] == place]
    return dict(mount)


def test_process_is_podmans_by_default() -> None:
    process = spec()["process"]
    assert process["user"] == {"uid": 0, "gid": 0, "umask": 0o022}
    assert process["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM=xterm",
        "container=oci",
        "HOME=/root",
        "HOSTNAME=vm",
    ]
    assert process["cwd"] == "/"
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert process["capabilities"]["effective"] == list(capabilities.DEFAULT)
    assert "oomScoreAdj" not in process


def test_masked_and_read_only_paths_are_podmans() -> None:
    linux = spec()["linux"]
    assert "/proc/kcore" in linux["maskedPaths"]
    assert len(linux["maskedPaths"]) == 11
    assert linux["readonlyPaths"][0] == "/proc/asound"
    assert len(linux["readonlyPaths"]) == 6


@pytest.mark.parametrize(
    ("mode", "network", "expected"),
    [
        ("hybrid", "host", ["pid", "ipc", "uts", "mount"]),
        ("v1", "none", ["pid", "ipc", "uts", "mount", "network"]),
        ("v2", "host", ["pid", "ipc", "uts", "mount", "cgroup"]),
    ],
)
def test_namespaces_follow_network_and_cgroup_version(
    mode: Any, network: Any, expected: list[str]
) -> None:
    found = spec(RunOptions(("sh",), network=network), host=replace(HOST, cgroup_mode=mode))
    assert [n["type"] for n in found["linux"]["namespaces"]] == expected


def test_cgroups_are_left_out_where_there_are_none() -> None:
    found = spec(host=replace(HOST, cgroup_mode="none", controllers=frozenset()))
    assert "/sys/fs/cgroup" not in [m["destination"] for m in found["mounts"]]
    assert "pids" not in found["linux"]["resources"]


def test_limits_are_clamped_to_the_hosts() -> None:
    limits = {r["type"]: (r["soft"], r["hard"]) for r in spec()["process"]["rlimits"]}
    assert limits == {"RLIMIT_NOFILE": (20000, 20000), "RLIMIT_NPROC": (95000, 95000)}


def test_limits_reach_nr_open_where_they_may_be_raised() -> None:
    able = replace(HOST, available=HOST.available | {"CAP_SYS_RESOURCE"}, nr_open=5000)
    limits = {r["type"]: r["hard"] for r in spec(host=able)["process"]["rlimits"]}
    assert limits == {"RLIMIT_NOFILE": 5000, "RLIMIT_NPROC": 1 << 22}


def test_limits_asked_for_go_before_configured_ones_and_warn_when_clamped() -> None:
    found, warnings = rlimits.choose(
        ["nofile=30000", "core=0"],
        ["nofile=10:20", "core=5"],
        HOST.limits,
        may_raise=False,
        nr_open=1 << 20,
    )
    by_type = {r["type"]: r["soft"] for r in found}
    assert (by_type["RLIMIT_NOFILE"], by_type["RLIMIT_CORE"]) == (20000, 0)
    assert warnings == ["ulimit nofile: this host allows no more than 20000: using that"]


def test_oom_score_is_clamped_without_the_capability() -> None:
    process = spec(RunOptions(("sh",), oom_score_adj=-5))["process"]
    assert process["oomScoreAdj"] == 0


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        ((("/e",), ("a",)), RunOptions(), ["/e", "a"]),
        ((("/e",), ("a",)), RunOptions(("b", "c")), ["/e", "b", "c"]),
        ((("/e",), ("a",)), RunOptions(entrypoint=("/x", "y")), ["/x", "y"]),
        ((("/e",), ("a",)), RunOptions(("b",), entrypoint=()), ["b"]),
        ((None, ("a",)), RunOptions(), ["a"]),
    ],
)
def test_command_is_entrypoint_and_arguments(
    image: tuple[Any, Any], options: RunOptions, expected: list[str]
) -> None:
    config = RuntimeConfig(entrypoint=image[0], cmd=image[1])
    assert spec(options, config)["process"]["args"] == expected


def test_an_empty_entrypoint_drops_the_images_command_too() -> None:
    with pytest.raises(OptionError, match="no command or entrypoint"):
        spec(RunOptions(entrypoint=()), RuntimeConfig(cmd=("a",)))


def test_another_user_has_only_the_capabilities_added_by_name() -> None:
    sets = spec(RunOptions(("sh",), cap_add=("net_admin",)), user=SOMEBODY)["process"][
        "capabilities"
    ]
    assert sets["effective"] == sets["ambient"] == ["CAP_NET_ADMIN"]
    assert "CAP_CHOWN" in sets["bounding"]


def test_capabilities_the_host_lacks_are_left_out() -> None:
    found = spec(RunOptions(("sh",), cap_add=("ALL",)))["process"]["capabilities"]["bounding"]
    assert "CAP_SYS_ADMIN" in found
    assert "CAP_SYS_RESOURCE" not in found


def test_dropping_all_leaves_what_is_added() -> None:
    options = RunOptions(("sh",), cap_drop=("all",), cap_add=("chown",))
    assert spec(options)["process"]["capabilities"]["effective"] == ["CAP_CHOWN"]


@pytest.mark.parametrize(
    ("add", "drop", "message"),
    [
        (("foo",), (), "unknown capability"),
        (("chown",), ("CAP_CHOWN",), "cannot be dropped and added"),
        (("all",), ("all",), "both"),
    ],
)
def test_capabilities_that_make_no_sense_are_refused(
    add: tuple[str, ...], drop: tuple[str, ...], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        spec(RunOptions(("sh",), cap_add=add, cap_drop=drop))


def test_privileged_hides_nothing() -> None:
    found = spec(RunOptions(("sh",), privileged=True))
    assert found["linux"]["maskedPaths"] == found["linux"]["readonlyPaths"] == []
    assert "ro" not in mount_at(found, "/sys")["options"]
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_unmask_takes_patterns() -> None:
    security = SecurityOptions(unmask=("/proc/*",), mask=("/secret",))
    linux = spec(RunOptions(("sh",), security=security))["linux"]
    assert linux["maskedPaths"] == ["/sys/firmware", "/sys/fs/selinux", "/sys/dev/block", "/secret"]
    assert linux["readonlyPaths"] == []


def test_read_only_root_has_writable_tmpfs_and_read_only_files() -> None:
    found = spec(RunOptions(("sh",), read_only=True), files={"/etc/hosts": "/c/hosts"})
    assert found["root"] == {"path": "/r", "readonly": True}
    assert mount_at(found, "/var/tmp")["type"] == "tmpfs"
    assert "ro" in mount_at(found, "/etc/hosts")["options"]
    bare = spec(RunOptions(("sh",), read_only=True, read_only_tmpfs=False))
    assert "/run" not in [m["destination"] for m in bare["mounts"]]


def test_mounts_of_the_user_replace_defaults_and_come_after_what_is_above() -> None:
    volume = Volume("bind", "/h", "/dev/shm", ("ro",))
    found = spec(
        RunOptions(("sh",), tmpfs=(Tmpfs("/a"),)),
        volumes=((volume, "/h"), (Volume("bind", "/x", "/a/b"), "/x")),
    )
    shm = mount_at(found, "/dev/shm")
    assert (shm["type"], shm["options"]) == ("bind", ["ro", "rbind", "rprivate"])
    places = [m["destination"] for m in found["mounts"]]
    assert places.index("/a") < places.index("/a/b")
    assert places.index("/dev") < places.index("/dev/shm")


def test_two_mounts_at_one_place_are_refused() -> None:
    volume = Volume("bind", "/h", "/a")
    with pytest.raises(OptionError, match="duplicate mount destination"):
        spec(RunOptions(("sh",), tmpfs=(Tmpfs("/a"),)), volumes=((volume, "/h"),))


@pytest.mark.parametrize(
    ("option", "expected"), [("shared", "shared"), ("rslave", "rslave"), ("private", None)]
)
def test_the_root_propagates_what_a_volume_needs(option: str, expected: str | None) -> None:
    volume = Volume("bind", "/h", "/a", (option,))
    assert spec(volumes=((volume, "/h"),))["linux"].get("rootfsPropagation") == expected


def test_hostname_is_the_id_without_the_hosts_network() -> None:
    assert spec(RunOptions(("sh",), network="none"))["hostname"] == ID[:12]
    assert spec(RunOptions(("sh",), hostname="box"))["hostname"] == "box"


def test_containers_conf_is_honoured() -> None:
    conf = parse(
        {
            "a": '[containers]\ndefault_capabilities=["CHOWN"]\nenv=["A=1"]\npids_limit=7\n',
            "b": '[containers]\nshm_size="1m"\ndefault_sysctls=["net.x=1","kernel.y = 2"]\n'
            'default_ulimits=["core=1:2"]\n',
        }
    )
    found = spec(conf=conf)
    assert found["process"]["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert found["process"]["env"][0] == "A=1"
    assert found["linux"]["resources"]["pids"] == {"limit": 7}
    assert found["linux"]["sysctl"] == {"kernel.y": "2"}
    assert "size=1048576" in mount_at(found, "/dev/shm")["options"]
    assert {"type": "RLIMIT_CORE", "soft": 1, "hard": 2} in found["process"]["rlimits"]


def test_image_options_and_proxies_are_merged_into_the_environment() -> None:
    host = replace(HOST, environment={"http_proxy": "p", "NO_PROXY": "n", "OTHER": "o"})
    image = RuntimeConfig(env=("PATH=/bin", "Q=image", "R=image"))
    found = spec(RunOptions(("sh",), env={"Q": "option"}), image, host)["process"]["env"]
    assert found == [
        "PATH=/bin",
        "TERM=xterm",
        "container=oci",
        "http_proxy=p",
        "NO_PROXY=n",
        "Q=option",
        "R=image",
        "HOME=/root",
        "HOSTNAME=vm",
    ]
    bare = spec(RunOptions(("sh",), http_proxy=False), image, host)["process"]["env"]
    assert "http_proxy=p" not in bare


def test_a_relative_working_directory_is_refused() -> None:
    with pytest.raises(OptionError, match="absolute"):
        spec(RunOptions(("sh",), workdir="x"))
