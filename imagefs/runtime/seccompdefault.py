"""The seccomp profile for hosts without containers-common: an allow list by group. Pure data.

What is not listed is answered ENOSYS, so that programs fall back; what only a capability makes
harmless is allowed with it and EPERM without. clone(2) may make no namespaces without
CAP_SYS_ADMIN; clone3 is ENOSYS then, as its flags cannot be looked at.
"""

from __future__ import annotations

import errno
from typing import Any

import msgspec

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown
fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat
fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32
lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir
mkdirat mknod mknodat name_to_handle_at newfstatat _newselect open openat openat2 pipe pipe2 poll
ppoll ppoll_time64 pread64 preadv preadv2 pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir select sendfile
sendfile64 setxattr splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
sync_file_range2 syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
utimensat_time64 utimes vmsplice write writev
"""
_MEMORY = """
brk get_mempolicy get_thread_area madvise mbind membarrier memfd_create memfd_secret mincore mlock
mlock2 mlockall mmap mmap2 mprotect mremap msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect process_madvise process_mrelease remap_file_pages set_mempolicy set_thread_area
"""
_PROCESSES = """
_exit alarm arch_prctl capget capset execve execveat exit exit_group fork getcpu getegid getegid32
geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid
getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self nice pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
setreuid setreuid32 setrlimit set_robust_list get_robust_list setsid set_tid_address setuid setuid32
sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend sysinfo
tgkill time times tkill ugetrlimit uname vfork wait4 waitid waitpid
"""
_CLOCKS = """
adjtimex clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
clock_nanosleep_time64 gettimeofday nanosleep timer_create timer_delete timer_getoverrun
timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
timerfd_gettime64 timerfd_settime timerfd_settime64
"""
_TALKING = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 futex futex_time64 futex_waitv getpeername
getsockname getsockopt io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
io_submit ipc listen mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd recv recvfrom recvmmsg
recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg
sendto setsockopt shmat shmctl shmdt shmget shutdown socket socketcall socketpair
"""
_ONLY_WITH = {
    "CAP_SYS_ADMIN": """
        bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
        move_mount open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare
    """,
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_BOOT": "reboot kexec_load kexec_file_load",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module query_module",
    "CAP_SYS_NICE": "migrate_pages move_pages set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": """
        settimeofday stime clock_settime clock_settime64 clock_adjtime clock_adjtime64
    """,
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
#: Those of _ONLY_WITH that the C library must see as missing, to fall back.
_HIDDEN = ("clone3",)
#: CLONE_NEW* but CLONE_NEWTIME, which shares its bit with the exit signal.
_NAMESPACES = 0x7E020000
#: personality(2)'s that only programs for other systems or machines need.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

_ARCHITECTURES = (
    ("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    ("SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
    ("SCMP_ARCH_S390X", ("SCMP_ARCH_S390",)),
)


def profile() -> bytes:
    """The profile, in the format that `imagefs.runtime.seccomp` converts."""
    allowed = " ".join((_FILES, _MEMORY, _PROCESSES, _CLOCKS, _TALKING)).split()
    rules: list[dict[str, Any]] = [
        {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
        *(_personality(value) for value in _PERSONALITIES),
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": _NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]},
        },
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"caps": ["CAP_SYS_ADMIN"]},
        },
        {
            "names": [
                "arm_fadvise64_64",
                "arm_sync_file_range",
                "breakpoint",
                "cacheflush",
                "set_tls",
            ],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"arches": ["arm", "arm64"]},
        },
        {
            "names": ["modify_ldt"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"arches": ["amd64", "386"]},
        },
    ]
    for capability, names in _ONLY_WITH.items():
        rules += _guarded(capability, names.split())
    return msgspec.json.encode(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno.ENOSYS,
            "archMap": [
                {"architecture": native, "subArchitectures": others}
                for native, others in _ARCHITECTURES
            ],
            "syscalls": rules,
        }
    )


def _personality(value: int) -> dict[str, Any]:
    argument = {"index": 0, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
    return {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [argument]}


def _guarded(capability: str, names: list[str]) -> list[dict[str, Any]]:
    refused = [name for name in names if name not in _HIDDEN]
    return [
        {"names": names, "action": "SCMP_ACT_ALLOW", "includes": {"caps": [capability]}},
        {
            "names": refused,
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": errno.EPERM,
            "excludes": {"caps": [capability]},
        },
    ]
