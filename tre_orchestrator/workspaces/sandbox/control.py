"""The world of the positive control: addresses, listeners, sockets, files, a process that no workspace may reach.

All of it is made in namespaces of the prover's own, and goes with them. Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import selectors
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tre_orchestrator.workspaces.sandbox import kernel, probe

CLONE_NEWUTS, CLONE_NEWIPC = 0x04000000, 0x08000000
READ_ONLY = ("/", "/usr/bin", "/etc", "/dev", "/opt", "/opt/env", "/opt/tre", "/data", "/imports", "/outcomes", "/home")
"""Places inside that are not the analyst's to change."""

TCP = {
    "the gate": ("127.0.0.1", 8000),
    "the hub": ("127.0.0.1", 8081),
    "a database": ("127.0.0.1", 5432),
    "the host's own address": ("10.99.0.1", 22),
    "another workspace's address": ("10.99.0.2", 8888),
    "a cluster's API server": ("10.96.0.1", 443),
    "a kubelet": ("10.99.0.1", 10250),
    "the metadata service (IPv4)": ("169.254.169.254", 80),
    "the metadata service (IPv6)": ("fd00:ec2::254", 80),
    "the Internet (IPv4)": ("1.1.1.1", 443),
    "the Internet (IPv4, plain)": ("93.184.215.14", 80),
    "the Internet (IPv6)": ("2606:4700:4700::1111", 443),
    "DNS by TCP": ("9.9.9.9", 53),
    "DNS by TLS": ("1.1.1.1", 853),
}
UDP = {
    "DNS": ("9.9.9.9", 53),
    "the machine's resolver": ("127.0.0.53", 53),
    "DNS (IPv6)": ("2606:4700:4700::1111", 53),
    "DNS by QUIC": ("1.1.1.1", 853),
    "QUIC": ("1.1.1.1", 443),
    "time": ("162.159.200.1", 123),
}
_SIOCSIFFLAGS, _SIOCSIFADDR = 0x8914, 0x8916
_IFF_UP = 1
_IPC_CREAT = 0o1000


def targets(scratch: Path) -> dict[str, Any]:
    """What the probe tries, for the control; the locked attempt gets other paths for its own folders."""
    mark = secrets.token_hex(8)
    sockets = ("gate", "hub", "web", "controller", "supervisor")
    return {
        "tcp": TCP,
        "udp": UDP,
        "unix": {
            **{f"the {name}": str(scratch / "run" / f"{name}.sock") for name in sockets},
            "another workspace": str(scratch / "run" / "ws" / "other.sock"),
        },
        "abstract": f"tre-proof-{mark}",
        "name": "proof.tre.example",
        "files": {
            "another workspace's home": str(scratch / "other" / "home" / "notebook.txt"),
            "another project's shared folder": str(scratch / "other" / "shared"),
            "the keys": str(scratch / "keys" / "inner.key"),
            "the state folder": str(scratch),
            "the machine's accounts": "/var/lib/dpkg/status",
            "root's home": "/root",
            "the machine's secrets": "/etc/shadow",
            "the machine's shared memory": f"/dev/shm/tre-proof-{mark}",
        },
        "secret": str(scratch / "keys" / "inner.key"),
        "read_only": {path: str(scratch / "copy") for path in READ_ONLY},
        "process": {"pid": 0, "marker": f"tre-proof-{mark}"},
        "queue": f"/tre-proof-{mark}",
        "shm_key": int(mark[:7], 16) | 1,
        "datasets": [str(scratch / "copy")],
        "writable": str(scratch / "copy"),
    }


def enter_namespaces() -> None:
    """Into namespaces of our own: network, mounts, host name, IPC; without root, a user namespace that keeps our uid.

    Queues, segments and shared memory live in them too: a proof that is killed leaves none behind.
    """
    uid, gid = os.geteuid(), os.getegid()
    mine = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC
    kernel.unshare(mine | (0 if uid == 0 else kernel.CLONE_NEWUSER))
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=1777")


@contextmanager
def surroundings(wanted: dict[str, Any], scratch: Path) -> Iterator[None]:
    """Everything that the targets name exists and answers while this lasts; fills in the foreign process's number."""
    raise_interface({host for host, _ in (*wanted["tcp"].values(), *wanted["udp"].values())} | _resolvers())
    kept = [_unix_listener(path) for path in (*wanted["unix"].values(), "\0" + wanted["abstract"])]
    shared = Path(wanted["files"]["the machine's shared memory"])
    shared.write_text("somebody else's\n")
    children = [_foreign_process(wanted["process"]["marker"]), _responder(wanted)]
    wanted["process"]["pid"] = children[0]
    os.umask(0)  # what is made here is open to everybody: only the lock shall refuse
    _libc.shmget(wanted["shm_key"], 4096, _IPC_CREAT | 0o666)
    _libc.mq_open(wanted["queue"].encode(), os.O_RDONLY | os.O_CREAT, 0o666, None)
    try:
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for listener in kept:
            listener.close()


def unlocked(wanted: dict[str, Any], copy: Path) -> dict[str, Any]:
    """Run the probe here. The copy is made a mount of its own, so that there is something to mount again."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(str(copy), str(copy), None, kernel.MS_BIND)
    return probe.run(wanted)


def raise_interface(addresses: set[str]) -> None:
    """Give every address to the namespace's loopback, the one interface that every kernel has. IPv6 may be absent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        for number, address in enumerate(sorted(host for host in addresses if ":" not in host)):
            if not address.startswith("127."):
                name = f"lo:{number}".encode()
                request = struct.pack("16sH2x4s8x", name, socket.AF_INET, socket.inet_aton(address))
                fcntl.ioctl(control, _SIOCSIFADDR, request)
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        index = socket.if_nametoindex("lo")
        for address in sorted(host for host in addresses if ":" in host):
            packed = socket.inet_pton(socket.AF_INET6, address)
            fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16sIi", packed, 128, index))


_libc = ctypes.CDLL(None, use_errno=True)


def _resolvers() -> set[str]:
    """The addresses that the machine's resolver asks, so that a name lookup can succeed in the control."""
    found = {"127.0.0.1"}
    with suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]:
                found.add(words[1])
    return found


def _unix_listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.startswith("\0"):
        listener.bind(path)
    else:
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        listener.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        os.close(folder)
    listener.listen(64)
    return listener


def _foreign_process(marker: str) -> int:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            kernel.die_with_parent(signal.SIGKILL, parent)
            os.execv("/usr/bin/sleep", [marker, "300"])  # noqa: S606
        finally:
            os._exit(1)
    return child


def _responder(wanted: dict[str, Any]) -> int:
    """A process that accepts every connection and answers every datagram. It listens before this returns."""
    ready, told = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            kernel.die_with_parent(signal.SIGKILL, parent)
            _respond(wanted, told)
        finally:
            os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return child


def _respond(wanted: dict[str, Any], told: int) -> None:
    selector = selectors.DefaultSelector()
    for host, port in set(map(tuple, wanted["tcp"].values())):
        with suppress(OSError):  # an address that this kernel does not know (IPv6): the control will not reach it
            listener = socket.create_server((host, port), family=_family(host), backlog=64)
            selector.register(listener, selectors.EVENT_READ, lambda listener=listener: listener.accept()[0].close())
    resolvers = {(host, 53) for host in _resolvers()}
    for host, port in set(map(tuple, wanted["udp"].values())) | resolvers:
        with suppress(OSError):
            endpoint = socket.socket(_family(host), socket.SOCK_DGRAM)
            endpoint.bind((host, port))
            selector.register(endpoint, selectors.EVENT_READ, lambda endpoint=endpoint: _answer(endpoint))
    os.write(told, b"x")
    while True:
        for key, _ in selector.select():
            key.data()


def _answer(endpoint: socket.socket) -> None:
    """Any name has the address 192.0.2.1 (RFC 5737, for documentation); any other kind of record: none."""
    data, sender = endpoint.recvfrom(512)
    if len(data) < 17:
        endpoint.sendto(data, sender)
        return
    end = 12
    while end < len(data) and data[end]:
        end += data[end] + 1
    question = data[12 : end + 5]
    is_address = question[-4:-2] == b"\x00\x01"
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01" if is_address else b""
    head = data[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if record else b"\x00\x00") + b"\x00\x00\x00\x00"
    endpoint.sendto(head + question + record, sender)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
