"""The system call filter of a workspace, as the bytes of a classic BPF program (seccomp(2), filter.rst).

A deny list over a namespace that already holds nothing: it closes what namespaces do not cover (AF_VSOCK, keyrings,
io_uring, foreign ABIs, terminals) and what would give an attacker kernel surface (mounts, user namespaces, bpf, perf).
A call newer than the table fails with ENOSYS, so a kernel upgrade opens nothing. Pure; standard library only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tre_orchestrator.workspaces.sandbox.syscalls import LAST, number

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of the two that are supported: both 64 bits wide and little endian."""

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000

EPERM, ENOSYS, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT = 1, 38, 93, 94, 95, 97

DENIED = (
    # A new mount could lift read-only from a dataset or show a host path; both generations of the mount API.
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "open_tree_attr", "statmount", "listmount"),
    # A nested user namespace gives all capabilities over its own namespaces: the usual first step of a kernel exploit.
    *("unshare", "setns", "sethostname", "setdomainname"),
    # Other processes' memory and descriptors: the server's listener must not be taken over by a kernel.
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    # Keyrings are not namespaced by session: the session keyring is shared with whoever started the workspace.
    *("keyctl", "add_key", "request_key"),
    # Large, young kernel surfaces that notebooks do not need.
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "vmsplice"),
    *("uretprobe", "uprobe", "map_shadow_stack", "memfd_secret", "lsm_set_self_attr"),
    # Opening by handle goes around mounts; fanotify and quota see the whole file system.
    *("name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark", "quotactl", "quotactl_fd"),
    *("lookup_dcookie", "nfsservctl", "ustat", "sysfs", "_sysctl"),
    # Administration of the machine; capabilities stop these too.
    *("swapon", "swapoff", "acct", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("create_module", "reboot", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "vhangup"),
    *("iopl", "ioperm", "modify_ldt", "uselib"),
    # Placement of memory on nodes tells about and disturbs others.
    *("move_pages", "migrate_pages", "mbind", "set_mempolicy", "get_mempolicy", "set_mempolicy_home_node"),
)
"""Calls that fail with EPERM whatever their arguments are."""

CLONE_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2)); NEWTIME is not valid for clone."""

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 2, 5, 0xF
IPPROTO_TCP, IPPROTO_UDP = 6, 17
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
S_IFMT, S_IFCHR, S_IFBLK = 0xF000, 0x2000, 0x6000
MAP_SHARED_ANONYMOUS = 0x21

_LD, _AND, _JEQ, _JGE, _JSET, _RET = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


@dataclass(frozen=True, slots=True)
class Instruction:
    """One BPF instruction: struct sock_filter."""

    code: int
    if_true: int
    if_false: int
    value: int

    def packed(self) -> bytes:
        """Eight bytes in the machine's order (both architectures are little endian)."""
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.value & 0xFFFFFFFF)


def filter_bytes(architecture: str, *, no_shared_memory: bool = False) -> bytes:
    """The filter for "x86_64" or "aarch64", as bwrap's --seccomp wants it.

    `no_shared_memory` closes memfd, SysV and anonymous shared memory too: where no cgroup counts memory, RLIMIT_DATA
    is the only limit and it does not see those. Raises ValueError for other architectures.
    """
    return b"".join(instruction.packed() for instruction in program(architecture, no_shared_memory=no_shared_memory))


def program(architecture: str, *, no_shared_memory: bool = False) -> list[Instruction]:
    """The filter's instructions; each block ends with the call's number in the accumulator again."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no filter for {architecture}")
    code = [
        # 32-bit calls (int 0x80, AArch32) have other numbers: kill, or every rule below could be gone around.
        Instruction(_LD, 0, 0, _ARCHITECTURE),
        Instruction(_JEQ, 1, 0, ARCHITECTURES[architecture]),
        Instruction(_RET, 0, 0, KILL_PROCESS),
        Instruction(_LD, 0, 0, _NUMBER),
    ]
    if architecture == "x86_64":  # the x32 ABI shares the architecture but sets bit 30 of the number
        code += [Instruction(_JGE, 0, 1, 0x40000000), Instruction(_RET, 0, 0, KILL_PROCESS)]
    code += [Instruction(_JGE, 0, 1, LAST + 1), _error(ENOSYS)]
    denied = [*DENIED, *(("memfd_create", "shmget") if no_shared_memory else ())]
    for call in sorted(n for name in denied if (n := number(name, architecture)) is not None):
        code += [Instruction(_JEQ, 0, 1, call), _error(EPERM)]
    # clone3 takes its flags in memory, which a filter cannot read: ENOSYS makes libc fall back to clone.
    code += _on(architecture, "clone3", [_error(ENOSYS)])
    code += _on(architecture, "clone", [_load(0), Instruction(_JSET, 0, 1, CLONE_NAMESPACES), _error(EPERM)])
    for name in ("socket", "socketpair"):
        code += _on(architecture, name, _sockets())
    code += _on(architecture, "ioctl", _refuse_values(1, TIOCSTI, TIOCLINUX))
    code += _on(architecture, "personality", _allow_values(0, 0, 0xFFFFFFFF))
    # A character device 0:0 is an overlay whiteout and needs no capability; the airlock refuses it, nobody needs it.
    code += _on(architecture, "mknod", _refuse_devices(1))
    code += _on(architecture, "mknodat", _refuse_devices(2))
    if no_shared_memory:
        both = Instruction(_AND, 0, 0, MAP_SHARED_ANONYMOUS)
        code += _on(
            architecture, "mmap", [_load(3), both, Instruction(_JEQ, 0, 1, MAP_SHARED_ANONYMOUS), _error(EPERM)]
        )
    return [*code, _allow()]


def _sockets() -> list[Instruction]:
    """socket(family, type, protocol): unix, and TCP and UDP over IP, which end in an empty network namespace.

    AF_VSOCK is not covered by network namespaces. AF_NETLINK must fail with EOPNOTSUPP: on any other error libzmq,
    which every kernel uses, aborts in getifaddrs(). Of the types only streams, datagrams and packets (unix) are
    needed; of the protocols none for unix, and TCP and UDP for IP: MPTCP, SMC, SCTP, UDP-Lite and raw sockets are
    kernel surface. Types carry SOCK_NONBLOCK and SOCK_CLOEXEC in higher bits.
    """
    unix = [
        *_only(SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, of=_SOCKET_TYPE, error=ESOCKTNOSUPPORT),
        *_only(0, of=_SOCKET_PROTOCOL, error=EPROTONOSUPPORT),
        _allow(),
    ]
    ip = [
        *_only(SOCK_STREAM, SOCK_DGRAM, of=_SOCKET_TYPE, error=ESOCKTNOSUPPORT),
        *_only(0, IPPROTO_TCP, IPPROTO_UDP, of=_SOCKET_PROTOCOL, error=EPROTONOSUPPORT),
        _allow(),
    ]
    return [
        _load(0),
        Instruction(_JEQ, 0, 1, AF_NETLINK),
        _error(EOPNOTSUPP),
        Instruction(_JEQ, 0, len(unix), AF_UNIX),
        *unix,
        Instruction(_JEQ, 2, 0, AF_INET),
        Instruction(_JEQ, 1, 0, AF_INET6),
        _error(EAFNOSUPPORT),
        *ip,
    ]


def _only(*values: int, of: list[Instruction], error: int) -> list[Instruction]:
    """`error` unless what `of` loads is one of the values."""
    tests = [Instruction(_JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*of, *tests, _error(error)]


def _allow() -> Instruction:
    return Instruction(_RET, 0, 0, ALLOW)


def _refuse_values(argument: int, first: int, second: int) -> list[Instruction]:
    """EPERM when the argument's low 32 bits (all that ioctl looks at) are one of two values."""
    return [_load(argument), Instruction(_JEQ, 1, 0, first), Instruction(_JEQ, 0, 1, second), _error(EPERM)]


def _allow_values(argument: int, first: int, second: int) -> list[Instruction]:
    """EPERM unless the argument's low 32 bits are one of two values."""
    return [_load(argument), Instruction(_JEQ, 2, 0, first), Instruction(_JEQ, 1, 0, second), _error(EPERM)]


def _refuse_devices(argument: int) -> list[Instruction]:
    """EPERM when the mode in the argument asks for a device; fifos, sockets and files may be made."""
    kind = Instruction(_AND, 0, 0, S_IFMT)
    return [
        _load(argument),
        kind,
        Instruction(_JEQ, 1, 0, S_IFCHR),
        Instruction(_JEQ, 0, 1, S_IFBLK),
        _error(EPERM),
    ]


def _on(architecture: str, name: str, body: list[Instruction]) -> list[Instruction]:
    """Run `body` for this call only; afterwards the accumulator holds the call's number again."""
    call = number(name, architecture)
    if call is None:
        return []
    back = Instruction(_LD, 0, 0, _NUMBER)
    return [Instruction(_JEQ, 0, len(body) + 1, call), *body, back]


def _load(argument: int) -> Instruction:
    """The low 32 bits of argument 0 to 5 into the accumulator."""
    return Instruction(_LD, 0, 0, _ARGUMENTS + 8 * argument)


def _error(errno: int) -> Instruction:
    return Instruction(_RET, 0, 0, ERRNO | errno)


_SOCKET_TYPE = [_load(1), Instruction(_AND, 0, 0, SOCK_TYPE_MASK)]
_SOCKET_PROTOCOL = [_load(2)]
