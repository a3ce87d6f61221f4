"""The keeper of one FUSE mount: holds /dev/fuse and restarts the server. Never opens a file on it.

It imports next to nothing, so that it starts at once and stays small.

Run as `python -I -S keeper.py start CONTROL RUN COMMAND…` by the mounting command, with a
SOCK_SEQPACKET descriptor on which it gets the configuration and answers "ready" or "error …"; or as
`… adopt RUN LINK SERVER RESTARTS FUSE [SECRET]` by a server whose keeper died. RUN is the mount's
directory on tmpfs.

A descriptor that comes with the configuration is a secret for the servers: held, never read.

The configuration is NUL-separated: mount point, source, options, "root" or "user", "resend" or
"remount", what the server is told (opaque here), the server's command. It is kept in RUN/config.

Keeper and server talk over LINK, another SOCK_SEQPACKET pair: the server says "ready", "error …"
and, when the mount has gone, "bye". Its end closes when it dies, however it dies.
docs/design/keeper.md has the rest.
"""

import os
import sys
import time
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair

MESSAGE_MAX = 1 << 16
MS_RDONLY = 1
MNT_DETACH = 2
BACKOFF_MAX = 5.0


class MountFailed(Exception):
    """The mount could not be made; the message is for the user."""


class Keeper:
    """One mount's life. `fuse` is the mounted descriptor, -1 before."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.fuse = -1
        self.secret = -1
        self.server = 0
        self.restarts = 0
        self.link: socket | None = None

    # -- the first start

    def start(self, control: socket, command: list[str]) -> int:
        """Start the server (its imports take the longest), then mount as the control end says."""
        self.command = command
        self.spawn()
        config, fds = receive(control)
        if not config:  # the command that wanted a mount is gone, killed perhaps
            self.drop_server()
            remove(self.run + "/log")
            os.rmdir(self.run)  # noqa: PTH106 - pathlib is too big for a keeper
            return 1
        self.secret = fds[0] if fds else -1
        write(self.run + "/config", config + b"\0" + b"\0".join(map(os.fsencode, command)))
        self.read_config()
        try:
            self.mount()
        except MountFailed as error:
            self.drop_server()
            answer(control, b"error " + os.fsencode(str(error)))
            return 1
        self.send_fuse()
        reply = self.hear()
        if reply == b"ready":
            self.note_state()
            if answer(control, reply):
                control.close()
                return self.watch()
        self.drop_server()
        self.unmount()
        self.clean()
        if not reply.startswith(b"error "):
            log = os.fsencode(self.run) + b"/log"
            reply = b"error the file system server died while it started; see " + log
        answer(control, reply)
        return 1

    def send_fuse(self) -> None:
        """Hand the mounted descriptor to a server that was started before the mount."""
        assert self.link is not None
        given = [self.fuse] + ([self.secret] if self.secret >= 0 else [])
        fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in given)
        self.link.sendmsg([b"go"], [(SOL_SOCKET, SCM_RIGHTS, fds)])

    def hear(self) -> bytes:
        """The server's next message; b"" when it is dead."""
        assert self.link is not None
        try:
            return self.link.recv(MESSAGE_MAX)
        except ConnectionError:
            return b""

    # -- watching

    def watch(self) -> int:
        """Until the mount has gone."""
        failures = 0
        while True:
            message = self.hear()
            if message == b"ready":
                failures = 0
                self.note_state()
            elif message == b"bye":
                self.reap()
                self.unmount()
                self.clean()
                return 0
            elif not message:
                self.reap()
                if failures:
                    time.sleep(min(BACKOFF_MAX, 0.05 * 2**failures))
                failures += 1
                self.restarts += 1
                if not self.resend:
                    self.remount()
                self.spawn()

    def remount(self) -> None:
        """Below Linux 6.9 what was in flight is lost: end the connection, mount anew."""
        os.close(self.fuse)
        self.unmount()
        for name in ("init", "journal"):
            remove(f"{self.run}/{name}")
        self.mount()

    def adopt(self, link: int, server: int, restarts: int, fuse: int, secret: int = -1) -> int:
        """Take over from a keeper that died; the server runs."""
        self.link = socket(fileno=link)
        self.server, self.restarts = server, restarts
        self.fuse, self.secret = fuse, secret
        self.read_config()
        self.note_state()
        return self.watch()

    # -- the server

    def spawn(self) -> None:
        """Start a server; it inherits the descriptor, so that at no moment only we hold it."""
        if self.link is not None:
            self.link.close()
        self.link, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        given = [fd for fd in (theirs.fileno(), self.fuse, self.secret) if fd >= 0]
        for fd in given:
            os.set_inheritable(fd, True)
        more = [self.run, str(os.getpid()), str(self.restarts), *map(str, given)]
        command = [*self.command, *more]
        self.server = os.posix_spawn(command[0], command, os.environ)
        theirs.close()
        for fd in given[1:]:
            os.set_inheritable(fd, False)

    def reap(self) -> None:
        """Collect a dead server."""
        try:
            os.waitpid(self.server, 0)
        except ChildProcessError:  # adopted: not our child
            pass

    def drop_server(self) -> None:
        """End the server: there is no mount for it."""
        assert self.link is not None
        self.link.close()
        try:
            os.kill(self.server, 9)
        except ProcessLookupError:
            pass
        self.reap()

    # -- mounting

    def read_config(self) -> None:
        """Take over what the mounting command wanted."""
        with open(self.run + "/config", "rb") as file:
            fields = file.read().split(b"\0")
        self.mountpoint, self.source, self.options = fields[:3]
        self.privileged = fields[3] == b"root"
        self.resend = fields[4] == b"resend"
        self.command = [os.fsdecode(field) for field in fields[6:]]

    def mount(self) -> None:
        """Make the mount; MountFailed leaves nothing."""
        if self.privileged:
            self.fuse = mount_as_root(self.mountpoint, self.source, self.options)
        else:
            self.fuse = mount_as_user(self.mountpoint, self.source, self.options)

    def unmount(self) -> None:
        """Take the mount away if it is still there; only ever ours."""
        with open("/proc/self/mountinfo", "rb") as file:
            mounted = any(b" " + self.source + b" " in line for line in file)
        if not mounted:
            return
        if self.privileged:
            import ctypes

            ctypes.CDLL(None).umount2(self.mountpoint, MNT_DETACH)
        else:
            run_fusermount([b"-u", b"-q", b"-z", b"--", self.mountpoint], -1)

    # -- the directory

    def note_state(self) -> None:
        """Tell others who serves this mount."""
        resend = "true" if self.resend else "false"
        numbers = f'"keeper_pid": {os.getpid()}, "server_pid": {self.server}'
        text = f'{{{numbers}, "restarts": {self.restarts}, "resend": {resend}}}\n'
        write(self.run + "/state.json", text.encode())

    def clean(self) -> None:
        """Leave only the log."""
        for name in ("state.json", "init", "journal", "config"):
            remove(f"{self.run}/{name}")


def mount_as_root(mountpoint: bytes, source: bytes, options: bytes) -> int:
    """A descriptor of /dev/fuse, mounted by mount(2)."""
    import ctypes

    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountFailed(f"/dev/fuse: {error.strerror} (modprobe fuse?)") from None
    names = options.split(b",") if options else []
    flags = MS_RDONLY if b"ro" in names else 0
    data = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse
    data = b",".join([data, *(name for name in names if name not in (b"ro", b"rw"))])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source, mountpoint, b"fuse.imagefs", ctypes.c_ulong(flags), data):
        why = os.strerror(ctypes.get_errno())
        os.close(fuse)
        raise MountFailed(f"{os.fsdecode(mountpoint)}: mount: {why}")
    return fuse


def mount_as_user(mountpoint: bytes, source: bytes, options: bytes) -> int:
    """The same through fusermount3, which is set-user-id root; the log has what it dislikes."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    names = [b"fsname=" + source, b"subtype=imagefs", *(options.split(b",") if options else ())]
    status = run_fusermount([b"-o", b",".join(names), b"--", mountpoint], theirs.fileno())
    theirs.close()
    if status:
        raise MountFailed(f"{os.fsdecode(mountpoint)}: fusermount3 failed ({status}); see the log")
    _, fds = receive(ours)
    ours.close()
    return fds[0]


def run_fusermount(args: list[bytes], channel: int) -> int:
    """Run fusermount3 and wait; its exit status."""
    environment = dict(os.environb)
    if channel >= 0:
        os.set_inheritable(channel, True)
        environment[b"_FUSE_COMMFD"] = b"%d" % channel
    try:
        pid = os.posix_spawnp("fusermount3", [b"fusermount3", *args], environment)
    except FileNotFoundError:
        raise MountFailed("fusermount3: not found; install Debian's fuse3") from None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def receive(channel: socket) -> tuple[bytes, list[int]]:
    """A message and the descriptors that came with it (not inherited by what is started)."""
    message, ancillary, _, _ = channel.recvmsg(MESSAGE_MAX, 64)
    data = ancillary[0][2] if ancillary else b""
    fds = [int.from_bytes(data[i : i + 4], sys.byteorder) for i in range(0, len(data), 4)]
    for fd in fds:
        os.set_inheritable(fd, False)
    return message, fds


def write(path: str, data: bytes) -> None:
    """Replace a file in one step."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)  # noqa: PTH104 - pathlib is too big for a keeper


def remove(path: str) -> None:
    """Delete a file that may be gone."""
    try:
        os.unlink(path)  # noqa: PTH108 - pathlib is too big for a keeper
    except FileNotFoundError:
        pass


def answer(control: socket, message: bytes) -> bool:
    """Tell the mounting command; False if it no longer listens."""
    try:
        control.send(message)
    except OSError:
        return False
    return True


def main(argv: list[str]) -> int:
    """See the head of this file."""
    os.chdir("/")
    if argv[0] == "start":
        control = socket(fileno=int(argv[1]))
        os.set_inheritable(control.fileno(), False)
        return Keeper(argv[2]).start(control, argv[3:])
    link, server, restarts, *held = map(int, argv[2:])
    for fd in (link, *held):
        os.set_inheritable(fd, False)
    return Keeper(argv[1]).adopt(link, server, restarts, *held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
