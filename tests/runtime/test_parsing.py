"""Every form of the options that podman-run(1) gives, and what makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagefs.runtime import environment, etcfiles
from imagefs.runtime.containersconf import files, parse
from imagefs.runtime.errors import CannotInvoke, OptionError
from imagefs.runtime.host import cgroups
from imagefs.runtime.options import (
    Network,
    RunOptions,
    parse_entrypoint,
    parse_hostname,
    parse_network,
    parse_security,
    parse_signal,
    parse_size,
)
from imagefs.runtime.rlimits import UNLIMITED, Limit, parse_ulimit
from imagefs.runtime.users import User, resolve, with_entry
from imagefs.runtime.volumes import Tmpfs, Volume, parse_tmpfs, parse_volume

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\n# none\nu:x:100:200::/home/u:/bin/sh\nbad\n7:x:70:70::/7:\n"
)
GROUP = b"root:x:0:\nextra:x:300:u,root\ng2:x:201:\n"
HERE = Path("/here")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, (300,), "root", "/root")),
        ("u", User(100, 200, (300,), "u", "/home/u")),
        ("100", User(100, 200, (300,), "u", "/home/u")),
        ("u:g2", User(100, 201, (), "u", "/home/u")),
        ("100:5", User(100, 5, (), "u", "/home/u")),
        ("u:", User(100, 200, (300,), "u", "/home/u")),
        (":g2", User(0, 201, (), "root", "/root")),
        ("5555", User(5555, 0, (), "", "/")),
        ("5555:6", User(5555, 6, (), "", "/")),
        ("7", User(70, 70, (), "7", "/7")),
    ],
)
def test_users_are_found_by_name_and_number(text: str, expected: User) -> None:
    assert resolve(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize("text", ["nobody", "u:nogroup", str(1 << 31), "0:" + "9" * 12])
def test_unknown_users_cannot_be_invoked(text: str) -> None:
    with pytest.raises(CannotInvoke) as caught:
        resolve(text, PASSWD, GROUP)
    assert caught.value.exit_code == 126


def test_a_user_without_an_entry_gets_one() -> None:
    text = with_entry(PASSWD.rstrip(b"\n"), User(5, 6, (), "", "/"), "/w")
    assert text.splitlines()[-1] == b"5:*:5:6:container user:/w:/bin/sh"
    assert with_entry(PASSWD, resolve("u", PASSWD, GROUP), "/w") == PASSWD
    assert with_entry(b"", User(5, 6, (), "", "/"), "/w") == b""


def test_variables_come_with_value_from_the_host_or_by_prefix() -> None:
    host = {"A": "1", "HOME": "/h", "HOST": "x"}
    assert environment.parse(["A", "B=", "C=d=e", "HO*", "NONE"], host) == {
        "A": "1",
        "B": "",
        "C": "d=e",
        "HOME": "/h",
        "HOST": "x",
    }
    with pytest.raises(OptionError, match="no name"):
        environment.parse(["=x"], host)


def test_files_of_variables_may_have_comments() -> None:
    text = "# c\n\n  A=b c \n   # d\nHOME\nX*\n"
    assert environment.parse_file(text, {"HOME": "/h", "XY": "1"}, "f") == {
        "A": "b c ",
        "HOME": "/h",
        "XY": "1",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a", Volume("anonymous", "", "/a")),
        ("/h:/a", Volume("bind", "/h", "/a")),
        ("/h/../g:/a/./b/", Volume("bind", "/g", "/a/b")),
        ("./x:/a:ro", Volume("bind", "/here/x", "/a", ("ro",))),
        ("..:/a", Volume("bind", "/", "/a")),
        ("vol_1.x-y:/a:z,nocopy", Volume("named", "vol_1.x-y", "/a", ("z", "nocopy"))),
        (
            "/h:/a:rw,Z,noexec,nosuid,nodev,rbind,rslave,U",
            Volume(
                "bind", "/h", "/a", ("rw", "Z", "noexec", "nosuid", "nodev", "rbind", "rslave", "U")
            ),
        ),
    ],
)
def test_volumes_take_every_form(text: str, expected: Volume) -> None:
    assert parse_volume(text, HERE) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not of the form"),
        ("/a:/b:ro:x", "not of the form"),
        ("/a:", "not of the form"),
        ("/h:a", "must be absolute"),
        ("rel", "must be absolute"),
        ("/h:/", "root cannot be a mount"),
        ("/h:/a/..", "root cannot be a mount"),
        ("nope/x:/y", "neither a path"),
        ("/h:/a:bogus", "invalid option 'bogus'"),
        ("/h:/a:ro,rw", "only one of"),
        ("/h:/a:shared,slave", "only one of"),
        ("/h:/a:O", "overlay volumes are not supported"),
        ("/h:/a:idmap=uids", "idmapped volumes are not supported"),
    ],
)
def test_volumes_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_volume(text, HERE)


def test_volumes_of_the_engine_have_no_devices_or_setuid() -> None:
    assert Volume("named", "v", "/a").mount_options == ["nosuid", "nodev", "rbind", "rprivate"]
    assert Volume("named", "v", "/a", ("suid", "dev", "U", "z")).mount_options == [
        "suid",
        "dev",
        "rbind",
        "rprivate",
    ]
    assert Volume("bind", "/h", "/a", ("bind", "shared")).mount_options == ["bind", "shared"]


def test_tmpfs_has_podmans_defaults() -> None:
    assert parse_tmpfs("/a").mount_options == ["rprivate", "nosuid", "nodev", "tmpcopyup"]
    assert parse_tmpfs("/a:rw,size=787448k,mode=1777,exec") == Tmpfs(
        "/a", ("rw", "size=787448k", "mode=1777", "exec")
    )
    assert "tmpcopyup" not in parse_tmpfs("/a:notmpcopyup").mount_options


@pytest.mark.parametrize("text", ["a", "/", "/a:bogus", "/a:size"])
def test_tmpfs_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_tmpfs(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("/bin/sh", ("/bin/sh",)),
        ("a b", ("a b",)),
        ('["a", "b c"]', ("a", "b c")),
        ("[]", ()),
        ("[x", ("[x",)),
    ],
)
def test_entrypoints_are_a_word_or_json(text: str, expected: tuple[str, ...]) -> None:
    assert parse_entrypoint(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("10", 10), ("1b", 1), ("64k", 65536), ("1M", 1 << 20), ("2gb", 2 << 30)]
)
def test_sizes_have_units(text: str, expected: int) -> None:
    assert parse_size(text, "--shm-size") == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "1t", "1.5g"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="not a size"):
        parse_size(text, "--shm-size")


@pytest.mark.parametrize(
    ("text", "expected"), [("9", 9), ("SIGTERM", 15), ("int", 2), ("RTMIN+3", 37), ("sigquit", 3)]
)
def test_signals_have_names_and_numbers(text: str, expected: int) -> None:
    assert parse_signal(text) == expected


@pytest.mark.parametrize("text", ["", "0", "99", "SIGNO", "TERM+1", "RTMIN+x", "RTMIN+40"])
def test_signals_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_signal(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nofile=1:2", ("nofile", Limit(1, 2))),
        ("core=0", ("core", Limit(0, 0))),
        ("memlock=-1:-1", ("memlock", Limit(UNLIMITED, UNLIMITED))),
        ("RLIMIT_NPROC=5:unlimited", ("nproc", Limit(5, UNLIMITED))),
    ],
)
def test_ulimits_take_every_form(text: str, expected: tuple[str, Limit]) -> None:
    assert parse_ulimit(text) == expected


@pytest.mark.parametrize(
    "text", ["foo=1", "nofile", "nofile=", "nofile=x", "nofile=2:1", "core=1:"]
)
def test_ulimits_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_ulimit(text)


def test_security_options_take_every_form() -> None:
    found = parse_security(
        (
            "no-new-privileges",
            "seccomp=unconfined",
            "mask=/a:/b",
            "unmask=ALL",
            "label=disable",
            "apparmor=unconfined",
            "proc-opts=hidepid=2,subset=pid",
        )
    )
    assert (found.no_new_privileges, found.seccomp, found.mask) == (
        True,
        "unconfined",
        ("/a", "/b"),
    )
    assert found.unmask_all
    assert found.proc_options == ("hidepid=2", "subset=pid")
    assert parse_security(("seccomp:x.json", "no-new-privileges=false")).seccomp == "x.json"


@pytest.mark.parametrize("text", ["bogus", "seccomp=", "label=user:x", "apparmor=mine"])
def test_security_options_that_cannot_be_had_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--security-opt"):
        parse_security((text,))


def test_networks_are_host_and_none() -> None:
    assert (parse_network("host"), parse_network("none")) == ("host", "none")
    with pytest.raises(OptionError, match="--network bridge: not supported"):
        parse_network("bridge")


@pytest.mark.parametrize("text", ["", "a b", "-a", "a-", "x" * 65])
def test_host_names_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="not a host name"):
        parse_hostname(text)


def test_hosts_name_the_container_once() -> None:
    def hosts(base: str, network: Network = "none") -> str:
        options = RunOptions(network=network)
        return etcfiles.contents(
            "vm", "box", options, hosts=base, resolv_conf="r\n", no_hosts=False
        )["/etc/hosts"]

    known = "127.0.0.1 localhost\n1.2.3.4 vm # box\n"
    assert hosts(known) == known + "127.0.0.1\tbox\n"
    assert hosts(known, "host") == known
    assert hosts("") == "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tvm box\n"


def test_containers_conf_that_is_wrong_is_named() -> None:
    with pytest.raises(OptionError, match=r"f\.conf: not a valid"):
        parse({"f.conf": "[containers]\npids_limit = 'x'\n"})
    with pytest.raises(OptionError, match=r"g\.conf: not a valid"):
        parse({"f.conf": "[network]\nx = 1\n", "g.conf": "nonsense"})


def test_runtimes_of_later_files_join_those_of_earlier_ones() -> None:
    conf = parse(
        {
            "a": '[engine.runtimes]\nx = ["/x"]\n',
            "b": '[engine]\nruntime = "y"\n[engine.runtimes]\ny = ["/y"]\n',
        }
    )
    assert conf.runtime == "y"
    assert (conf.runtime_paths("x"), conf.runtime_paths("y")) == (("/x",), ("/y",))
    assert "/usr/sbin/runc" in conf.runtime_paths("runc")
    assert conf.runtime_paths("none") == ()


def test_lists_of_later_files_replace_or_append() -> None:
    first = '[containers]\nenv = ["A=1"]\ndefault_ulimits = ["core=0"]\n'
    later = '[containers]\nenv = ["B=2", {append = true}]\ndefault_ulimits = ["cpu=1"]\n'
    found = parse({"a": first, "b": later}).containers
    assert (found.env, found.default_ulimits) == (("A=1", "B=2"), ("cpu=1",))


def test_containers_conf_is_looked_for_where_podman_does() -> None:
    assert files({"CONTAINERS_CONF": "/c"}, privileged=True) == [Path("/c")]
    own = Path("/h/.config/containers/containers.conf")
    assert own in files({"HOME": "/h"}, privileged=False)
    assert own not in files({"HOME": "/h"}, privileged=True)


def test_cgroup_versions_are_told_apart(tmp_path: Path) -> None:
    assert cgroups(tmp_path / "none") == ("none", frozenset())
    for name in ("cpu,cpuacct", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tasks").touch()
    assert cgroups(tmp_path) == ("v1", frozenset({"cpu", "cpuacct", "pids"}))
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").touch()
    assert cgroups(tmp_path)[0] == "hybrid"
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    assert cgroups(tmp_path) == ("v2", frozenset({"cpu", "pids"}))
