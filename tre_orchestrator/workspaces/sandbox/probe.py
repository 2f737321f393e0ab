"""Tries to get out of a workspace in every way of its table and prints, as JSON, what it reached.

`python probe.py TARGETS.json`: one file, standard library only, so that the same code runs as the locked attempt, as
the positive control and from a notebook's kernel (therefore it is longer than others). Where a probe succeeds it
leaves things as they were. Each runs in a process of its own: refused means held, and one that breaks is told apart
from both, because it proves nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import signal
import socket
import stat
import struct
import sys
import termios
from collections.abc import Callable
from functools import partial
from typing import Any

SECONDS = 4
X86 = platform.machine() == "x86_64"
MARK = "TRE-PROBE "
"""What the line with the answer begins with; everything else printed is noise."""

Probe = Callable[[], object]
_libc = ctypes.CDLL(None, use_errno=True)
_REFUSALS = (errno.EPERM, errno.ENOSYS, errno.EACCES)

# Numbers of calls without a Python function: (x86_64, aarch64).
CALLS = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "fsopen": (430, 430), "open_tree": (428, 428),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "clone": (56, 220), "clone3": (435, 435),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "keyctl": (250, 219), "add_key": (248, 217), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "quotactl": (179, 60), "vmsplice": (278, 75),
    "move_pages": (279, 239), "get_mempolicy": (239, 236), "memfd_secret": (447, 447), "adjtimex": (159, 171),
    "personality": (135, 92), "syslog": (103, 116), "swapon": (167, 224), "acct": (163, 89), "reboot": (169, 142),
    "init_module": (175, 105), "kexec_load": (246, 104), "sethostname": (170, 161), "shmget": (29, 194),
}  # fmt: skip


class HeldError(Exception):
    """The probe was refused, in a way that is no OSError."""


def call(name: str, *arguments: Any) -> int:
    """A system call by number. Raises OSError."""
    return _checked(_libc.syscall(ctypes.c_long(CALLS[name][0 if X86 else 1]), *map(_word, arguments)))


def permitted(name: str, *arguments: Any) -> str:
    """For calls that would do harm: with senseless arguments, any answer but a refusal means that they are open."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in _REFUSALS:
            raise
        return f"answered {errno.errorcode.get(error.errno or 0)}"
    return "done"


def probes(targets: dict[str, Any]) -> dict[str, Probe]:
    """The whole table for these targets: what is tried, by name."""
    table: dict[str, Probe] = {}
    for name, (host, port) in targets["tcp"].items():
        table[f"TCP to {name}"] = partial(tcp, host, port)
    for name, (host, port) in targets["udp"].items():
        table[f"UDP to {name}"] = partial(udp, host, port)
    for name, path in targets["unix"].items():
        table[f"unix socket of {name}"] = partial(unix, path)
    for name, path in targets["files"].items():
        table[f"file: {name}"] = partial(read, path)
    for name, path in targets["read_only"].items():
        table[f"write to {name}"] = partial(create, path)
    table |= network(targets) | processes(targets) | machine() | namespaces() | kernel_calls()
    for folder in targets["datasets"]:
        where = f" ({folder})" if len(targets["datasets"]) > 1 else ""
        table |= {f"dataset: {what}{where}": probe for what, probe in dataset(folder, targets["writable"]).items()}
    return table


# --- network -------------------------------------------------------------------------------------------------------


def tcp(host: str, port: int) -> None:
    """A connection."""
    socket.create_connection((host, port), 2).close()


def udp(host: str, port: int) -> str:
    """A question that every listener of the control answers; a DNS query, so that a real server would answer too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(1)
        probe.connect((host, port))
        probe.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07invalid\x00\x00\x01\x00\x01")
        return f"{len(probe.recv(512))} bytes came back"


def unix(path: str) -> None:
    """A path, or an abstract name when it begins with a zero byte."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        probe.connect(path)


def addresses(descriptor: int) -> str:
    """SIOCGIFCONF: every IPv4 address of the socket's network namespace."""
    room = ctypes.create_string_buffer(4096)
    asked = bytearray(struct.pack("iP", len(room), ctypes.addressof(room)))
    fcntl.ioctl(descriptor, 0x8912, asked)
    (length,) = struct.unpack_from("i", asked)
    found = {socket.inet_ntoa(room.raw[at + 20 : at + 24]) for at in range(0, length, 40)} - {"127.0.0.1"}
    return _found(sorted(found))


def network(targets: dict[str, Any]) -> dict[str, Probe]:
    """Names, routes, and kinds of sockets that a network namespace alone does not close."""

    def listener() -> str:
        """The descriptor handed in, where there is one."""
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(3).st_mode):
                return addresses(3)
        with socket.socket(socket.AF_UNIX) as any_socket:
            return addresses(any_socket.fileno())

    def inet() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            return addresses(any_socket.fileno())

    def made(*words: int) -> Probe:
        return lambda: socket.socket(*words).close()

    def lookup() -> object:
        try:
            return socket.getaddrinfo(targets["name"], 80)
        except socket.gaierror as error:
            raise HeldError(str(error)) from error

    routes = [host for host, _ in targets["tcp"].values() if ":" not in host and not host.startswith("127.")]
    return {
        "abstract unix socket": lambda: unix("\0" + targets["abstract"]),
        "list of foreign unix sockets": lambda: contains("/proc/net/unix", [targets["abstract"]]),
        "name lookup": lookup,
        "addresses of the host": inet,
        "addresses through the listener": listener,
        "routes of the host": lambda: contains("/proc/net/fib_trie", routes),
        "netlink socket": made(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "packet socket": made(socket.AF_PACKET, socket.SOCK_RAW, 0),
        "vsock socket": made(40, socket.SOCK_STREAM, 0),
        "kernel crypto socket": made(38, socket.SOCK_SEQPACKET, 0),
        "XDP socket": made(44, socket.SOCK_RAW, 0),
        "MPTCP socket": made(socket.AF_INET, socket.SOCK_STREAM, 262),
        "UDP-Lite socket": made(socket.AF_INET, socket.SOCK_DGRAM, 136),
        "raw ICMP socket": made(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "raw IPv6 socket": made(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    }


# --- processes and the host ----------------------------------------------------------------------------------------


def processes(targets: dict[str, Any]) -> dict[str, Probe]:
    """Other people's processes and memory, and the ways that reach into any process."""
    foreign, marker = targets["process"]["pid"], targets["process"]["marker"].encode()

    def is_foreign(pid: int) -> bool:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            return marker in file.read()
        return False

    def see() -> str:
        return _found([name for name in os.listdir("/proc") if name.isdecimal() and is_foreign(int(name))])

    def signal_it() -> None:
        os.kill(foreign, 0)
        if not is_foreign(foreign):
            raise HeldError("that number is a process of our own")

    def on_child(act: Callable[[int], object]) -> Probe:
        def probe() -> object:
            child = os.fork()
            if child == 0:
                signal.pause()
            try:
                return act(child)
            finally:
                os.kill(child, signal.SIGKILL)

        return probe

    def read_memory(child: int) -> object:
        room = ctypes.create_string_buffer(8)
        where = struct.pack("PN", ctypes.addressof(room), 8)
        return call("process_vm_readv", child, where, 1, where, 1, 0)

    def queue() -> None:
        descriptor = _checked(_libc.mq_open(targets["queue"].encode(), os.O_RDONLY))
        os.close(descriptor)

    return {
        "see a foreign process": see,
        "signal a foreign process": signal_it,
        "root folder of process 1": lambda: read(f"/proc/1/root{targets['secret']}"),
        "root folder of a foreign process": lambda: read(f"/proc/{foreign}/root{targets['secret']}"),
        "trace a process": on_child(lambda child: call("ptrace", 16, child, 0, 0)),
        "read a process's memory": on_child(read_memory),
        "compare processes": on_child(lambda child: call("kcmp", os.getpid(), child, 1, 0, 0)),
        "take a process's descriptor": on_child(lambda child: call("pidfd_getfd", os.pidfd_open(child), 1, 0)),
        "shared memory of others": lambda: call("shmget", targets["shm_key"], 0, 0),
        "message queue of others": queue,
    }


def machine() -> dict[str, Probe]:
    """What tells about, or gives a hold on, the machine itself."""
    table: dict[str, Probe] = {}
    for path in ("/dev/kmsg", "/dev/net/tun", "/dev/fuse", "/dev/loop-control", "/dev/mem", "/dev/kvm"):
        table[f"device {path}"] = partial(open_and_close, path, os.O_RDONLY)
    for path in ("kallsyms", "keys", "cmdline", "modules", "interrupts", "partitions", "iomem", "timer_list"):
        table[f"contents of /proc/{path}"] = partial(read, f"/proc/{path}")
    for path in ("softirqs", "schedstat", "zoneinfo", "buddyinfo", "vmstat", "pressure"):
        table[f"counters of /proc/{path}"] = partial(read, f"/proc/{path}")
    for path in ("sys/kernel/core_pattern", "sys/kernel/panic", "sys/vm/drop_caches", "sysrq-trigger"):
        table[f"write /proc/{path}"] = partial(open_and_close, f"/proc/{path}", os.O_WRONLY)
    for path in ("/sys/class/net", "/sys/fs/cgroup", "/sys/block"):
        table[f"list {path}"] = partial(read, path)
    return table


def read(path: str) -> str:
    """A file's first bytes, or a folder's names. An empty one tells nothing."""
    if os.path.isdir(path):
        return _found(os.listdir(path))
    with open(path, "rb") as file:
        return _found(["some bytes"] if file.read(1) else [])


def contains(path: str, words: list[str]) -> str:
    """Which of the words a file holds."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    return _found([word for word in words if word in text])


def open_and_close(path: str, flags: int) -> None:
    """Opening is enough to tell."""
    os.close(os.open(path, flags, 0o600))


def create(folder: str) -> None:
    """A new file there, removed again."""
    path = os.path.join(folder, "tre-probe")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.unlink(path)


# --- namespaces and the kernel -------------------------------------------------------------------------------------

NEWUSER, NEWNET = 0x10000000, 0x40000000


def namespaces() -> dict[str, Probe]:
    """Mounts, namespaces, identity: what would undo the lock from inside."""

    def cloned(made: Callable[[], int]) -> Probe:
        def probe() -> None:
            child = made()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)

        return probe

    def status(field: str, harmless: str) -> Probe:
        def probe() -> str:
            with open("/proc/self/status", encoding="ascii", errors="replace") as file:
                value = next(line.split()[1] for line in file if line.startswith(f"{field}:"))
            return _found([] if value.strip("0") == harmless else [value])

        return probe

    def device(kind: int, major: int, minor: int) -> Probe:
        def probe() -> None:
            os.mknod("/tmp/tre-probe-node", kind | 0o600, os.makedev(major, minor))
            os.unlink("/tmp/tre-probe-node")

        return probe

    def mounted() -> None:
        call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, 0)
        call("umount2", b"/tmp", 2)

    table: dict[str, Probe] = {
        "mount a file system": mounted,
        "bind a folder": lambda: call("mount", b"/", b"/tmp", 0, 4096 | 16384, 0) or call("umount2", b"/tmp", 2),
        "unmount": lambda: permitted("umount2", b"/no/such/folder", 2),
        "open a file system": lambda: call("fsopen", b"tmpfs", 1),
        "detach a mount tree": lambda: call("open_tree", -100, b"/", 1 | 0x8000),
        "change a mount": lambda: permitted("mount_setattr", -100, b"/no/such/folder", 0, bytes(32), 32),
        "pivot_root": lambda: permitted("pivot_root", b"/no/such/folder", b"/no/such/folder"),
        "chroot": lambda: os.chroot("/tmp"),
        "new user namespace": lambda: call("unshare", NEWUSER),
        "new network namespace": lambda: call("unshare", NEWNET | NEWUSER),
        "new user namespace by clone": cloned(lambda: call("clone", NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)),
        "new user namespace by clone3": cloned(
            lambda: call("clone3", struct.pack("8Q", NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
        ),
        "enter a namespace": lambda: call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), NEWNET),
        "become root": lambda: os.setresuid(0, 0, 0),
        "effective capabilities": status("CapEff", ""),
        "capabilities to gain": status("CapBnd", ""),
        "privileges by executing": status("NoNewPrivs", "1"),
        "no system call filter": status("Seccomp", "2"),
        "make a block device": device(stat.S_IFBLK, 7, 0),
        "make a character device": device(stat.S_IFCHR, 1, 3),
        "make a whiteout": device(stat.S_IFCHR, 0, 0),
        "raise priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -10),
        "set the host name": lambda: call("sethostname", b"workspace", 9),
    }
    return table


def kernel_calls() -> dict[str, Probe]:
    """System calls with a large surface, or whose effect no namespace contains; and other ways to call."""

    def sti() -> None:
        """Type into a terminal as if somebody sat there."""
        _, theirs = os.openpty()
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        fcntl.ioctl(theirs, termios.TIOCSTI, b"x")

    def int80() -> object:
        """getpid by the 32-bit gate: other numbers, so a filter of 64-bit numbers would not see it."""
        if not X86:
            raise HeldError("this processor has no such gate")
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()

    def x32() -> int:
        if not X86:
            raise HeldError("this processor has no such calls")
        return _checked(_libc.syscall(ctypes.c_long(0x40000000 | 39)))

    def splice() -> int:
        data = ctypes.create_string_buffer(8)
        return call("vmsplice", os.pipe()[1], struct.pack("PN", ctypes.addressof(data), 8), 1, 0)

    def advise() -> int:
        area = mmap.mmap(-1, 4096)
        where = struct.pack("PN", ctypes.addressof(ctypes.c_char.from_buffer(area)), 4096)
        return call("process_madvise", os.pidfd_open(os.getpid()), where, 1, 20, 0)

    software_event = struct.pack("2I5Q", 1, 112, 0, 1000, 0, 0, 1 << 5 | 1 << 6) + bytes(64)
    return {
        "bpf": lambda: call("bpf", 0, struct.pack("4I", 2, 4, 4, 1) + bytes(112), 128),
        "perf_event_open": lambda: call("perf_event_open", software_event, 0, -1, -1, 0),
        "userfaultfd": lambda: call("userfaultfd", 1),
        "io_uring": lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(128)),
        "session keyring": lambda: call("keyctl", 0, -3, 0, 0, 0),
        "add a key": lambda: call("add_key", b"user", b"tre-probe", b"x", 1, -2),
        "file handle": lambda: call(
            "name_to_handle_at", -100, b"/", ctypes.create_string_buffer(struct.pack("I", 128), 136), _room(4), 0
        ),
        "open by handle": lambda: permitted("open_by_handle_at", -1, struct.pack("Ii", 8, 1) + bytes(8), 0),
        "fanotify": lambda: call("fanotify_init", 0x200, 0),
        "quota": lambda: call("quotactl", 0x80000100, 0, 0, 0),
        "vmsplice": splice,
        "advise another process": advise,
        "move_pages": lambda: call("move_pages", 0, 0, 0, 0, 0, 0),
        "memory policy": lambda: call("get_mempolicy", 0, 0, 0, 0, 0),
        "secret memory": lambda: call("memfd_secret", 0),
        "clock adjustment": lambda: call("adjtimex", ctypes.create_string_buffer(256)),
        "personality": lambda: call("personality", 0x0040000),
        "kernel log": lambda: call("syslog", 10, 0, 0),
        "swap": lambda: permitted("swapon", b"/no/such/file", 0),
        "accounting": lambda: permitted("acct", b"/no/such/file"),
        "reboot": lambda: permitted("reboot", 0, 0, 0, 0),
        "load a module": lambda: permitted("init_module", 0, 0, b""),
        "load a kernel": lambda: permitted("kexec_load", 0, 1, 0, 1 << 20),
        "terminal input": sti,
        "32-bit calls": int80,
        "x32 calls": x32,
    }


# --- datasets ------------------------------------------------------------------------------------------------------


def dataset(folder: str, writable: str) -> dict[str, Probe]:
    """Every way to write to a read-only dataset (D1). Names that do not exist are used where success would destroy."""
    file = next(os.path.join(at, name) for at, _, names in os.walk(folder) for name in sorted(names))
    missing = os.path.join(folder, "tre-probe-missing")
    link = os.path.join(writable, "tre-probe-link")

    def opened(path: str, flags: int) -> Probe:
        return partial(open_and_close, path, flags)

    def absent(act: Callable[[str], object]) -> Probe:
        """On a read-only mount the kernel refuses before it looks for the name (EROFS, not ENOENT)."""

        def probe() -> str:
            try:
                act(missing)
            except FileNotFoundError:
                return "the name was looked for"
            return "done"

        return probe

    def linked(source: str, flags: int = 0) -> Probe:
        def probe() -> None:
            _checked(_libc.linkat(-100, os.fsencode(source), -100, os.fsencode(link), flags))
            os.unlink(link)

        return probe

    def reopened() -> None:
        read_only = os.open(file, os.O_RDONLY)
        os.close(os.open(f"/proc/self/fd/{read_only}", os.O_RDWR))

    def linked_open() -> None:
        read_only = os.open(file, os.O_RDONLY)
        linked(f"/proc/self/fd/{read_only}", 0x400)()

    def same_mode() -> None:
        read_only = os.open(file, os.O_RDONLY)
        os.fchmod(read_only, stat.S_IMODE(os.fstat(read_only).st_mode))

    def same_flags() -> None:
        read_only = os.open(file, os.O_RDONLY)
        flags = fcntl.ioctl(read_only, 0x80086601, bytes(8))
        fcntl.ioctl(read_only, 0x40086602, flags)

    def same_times() -> None:
        status = os.stat(file)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    def attribute() -> None:
        os.setxattr(file, "user.tre-probe", b"x")
        os.removexattr(file, "user.tre-probe")

    def covered() -> None:
        call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, 0)
        call("umount2", os.fsencode(folder), 2)

    def made(act: Callable[[str], object], undo: Callable[[str], object]) -> Probe:
        def probe() -> None:
            act(missing)
            undo(missing)

        return probe

    return {
        "open for writing": opened(file, os.O_RDWR),
        "open for appending": opened(file, os.O_WRONLY | os.O_APPEND),
        "truncate": lambda: os.truncate(file, os.path.getsize(file)),
        "create a file": lambda: create(folder),
        "nameless file": opened(folder, os.O_TMPFILE | os.O_RDWR),
        "create a folder": made(os.mkdir, os.rmdir),
        "create a link": made(lambda path: os.symlink("x", path), os.unlink),
        "create a pipe": made(os.mkfifo, os.unlink),
        "unlink": absent(os.unlink),
        "remove a folder": absent(os.rmdir),
        "rename": absent(lambda path: os.rename(path, path + "2")),
        "change the mode": lambda: os.chmod(file, stat.S_IMODE(os.stat(file).st_mode)),
        "change the mode by descriptor": same_mode,
        "change the owner": lambda: os.chown(file, os.getuid(), os.getgid()),
        "change the times": same_times,
        "add an attribute": attribute,
        "change file flags": same_flags,
        "reopen by /proc/self/fd": reopened,
        "through /proc/self/root": opened(f"/proc/self/root{file}", os.O_RDWR),
        "through the parent's root": opened(f"/proc/{os.getppid()}/root{file}", os.O_RDWR),
        "through the working folder": opened(f"/proc/self/cwd/{'../' * 40}{file.lstrip('/')}", os.O_RDWR),
        "hard link into outputs": linked(file),
        "hard link of a descriptor": linked_open,
        "mount writable": lambda: call("mount", 0, os.fsencode(folder), 0, 4096 | 32, 0),
        "cover by a mount": covered,
    }


# --- running -------------------------------------------------------------------------------------------------------


def run(targets: dict[str, Any]) -> dict[str, Any]:
    """Try everything; returns the attempts, and whether this place can be worked in at all."""
    attempts = [{"target": name, **attempt(name, probe)} for name, probe in probes(targets).items()]
    readable = all(next(os.walk(folder), None) for folder in targets["datasets"])
    outputs = attempt("outputs", lambda: create(targets["writable"]))
    return {"attempts": attempts, "sane": {"dataset readable": readable, "outputs writable": outputs["reached"]}}


def attempt(name: str, probe: Probe) -> dict[str, Any]:
    """One probe in a process of its own: reached, held, or broken."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        os.write(theirs, json.dumps(_outcome(probe)).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as stream:
        said = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said:
        return dict(json.loads(said))
    if code == -signal.SIGALRM:
        return {"reached": False, "broken": False, "detail": "no answer"}
    is_held = code == -signal.SIGSYS or (code == -signal.SIGSEGV and name == "32-bit calls")
    return {"reached": False, "broken": not is_held, "detail": f"ended by signal {-code}"}


def _outcome(probe: Probe) -> dict[str, Any]:
    try:
        detail = probe()
    except HeldError as error:
        return {"reached": False, "broken": False, "detail": str(error)[:200]}
    except OSError as error:
        named = errno.errorcode.get(error.errno or 0, str(error))
        return {"reached": False, "broken": False, "detail": named[:200]}
    except Exception as error:  # noqa: BLE001  # broken, whatever it is
        return {"reached": False, "broken": True, "detail": repr(error)[:200]}
    return {"reached": True, "broken": False, "detail": str(detail if detail is not None else "done")[:200]}


def _found(names: list[str]) -> str:
    if not names:
        raise HeldError("nothing there")
    return f"{len(names)} found"


def _room(size: int) -> Any:
    return ctypes.create_string_buffer(size)


def _word(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as targets_file:
        answer = run(json.load(targets_file))
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)
