"""Hostile and broken readers that run inside the checks' sandbox in place of the real one."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from tre_orchestrator.airlock.checks.model import Finding, Report, Rules, Verdict

Magic = Callable[[bytes], str]


def _told(*lines: str) -> Report:
    """Findings whose sentences tell what was tried and what came of it."""
    return Report("text/csv", tuple(Finding("parse", "told", Verdict.review, line) for line in lines))


def _tried(what: str, act: Callable[[], object]) -> str:
    try:
        return f"{what} worked {act()}"[:200]
    except (ArithmeticError, MemoryError, OSError, RuntimeError, ValueError) as error:
        return f"{what} failed {type(error).__name__}"


def crashes(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    ctypes.string_at(1)
    raise AssertionError


def raises(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    raise ValueError(data.decode())


def exits_well(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    os._exit(0)


def killed(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hangs(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    time.sleep(3600)
    raise AssertionError


def closes_its_answer(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    os.closerange(3, 256)
    time.sleep(3600)
    raise AssertionError


def spins(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    while True:
        pass


def eats_memory(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    eaten = []
    while True:
        eaten.append(b"x" * (64 << 20))


def answers_without_end(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    while True:
        _write_everywhere(b"x" * (1 << 16))


def answers_garbage(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    _write_everywhere(b"\x00\xff{]\n")
    os._exit(0)


def forges_a_pass(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    _write_everywhere(b'{"nonce": "' + b"0" * 32 + b'", "kind": "text/csv", "findings": []}\n')
    os._exit(0)


def forges_a_pass_and_goes_on(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    print('{"nonce": "", "kind": "text/csv", "findings": []}', flush=True)
    _write_everywhere(b'{"kind": "text/csv", "findings": []}\n')
    return Report("text/csv", ())


def says_another_kind(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    return Report("application/x-secret", ())


def passes_what_it_cannot_read(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    return Report("image/png", ())


def says_raw_values(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    return Report("text/csv", (Finding("parse", "told", Verdict.review, "x", sample=data.decode()),))


def invents_a_check(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    return Report("text/csv", (Finding("invented", "told", Verdict.passed, "x"),))


def prints_a_lot(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    print("x" * 100_000)
    sys.stderr.write("y" * 1000)
    return _told("said")


def looks_around(path: str, data: bytes, magic: Magic, rules: Rules) -> Report:
    def connect(family: int, address: Any) -> object:
        with socket.socket(family) as plug:
            plug.settimeout(2)
            plug.connect(address)
            return "connected"

    libc = ctypes.CDLL(None, use_errno=True)

    def write(name: str) -> object:
        with open(name, "w") as out:
            return out.write("x")

    host = data.decode().split("\n")
    return _told(
        _tried("tcp to the host", lambda: connect(socket.AF_INET, ("127.0.0.1", int(host[0])))),
        _tried("tcp to the internet", lambda: connect(socket.AF_INET, ("1.1.1.1", 443))),
        _tried("metadata service", lambda: connect(socket.AF_INET, ("169.254.169.254", 80))),
        _tried("unix socket of the host", lambda: connect(socket.AF_UNIX, host[1])),
        _tried("abstract socket of the host", lambda: connect(socket.AF_UNIX, "\0" + host[2])),
        _tried("file of the host", lambda: len(open(host[3]).read())),
        _tried("etc passwd", lambda: open("/etc/passwd").read()),
        _tried("processes", lambda: os.listdir("/proc/1")),
        _tried("write to the root", lambda: write("/x")),
        _tried("write to tmp", lambda: write("/tmp/x")),
        _tried("write to shm", lambda: write("/dev/shm/x")),
        _tried("write to usr", lambda: write("/usr/x")),
        _tried("write to the code", lambda: write(__file__)),
        _tried("write to the file", lambda: os.pwrite(0, b"x", 0)),
        _tried("fork", os.fork),
        _tried("mount", lambda: 1 // (1 + libc.mount(b"none", b"/usr", b"tmpfs", 0, None)) or "yes"),
        _tried("become root", lambda: os.setuid(0)),
        _tried("more memory", lambda: __import__("resource").setrlimit(9, (-1, -1))),
        "environment " + " ".join(sorted(os.environ)),
        "descriptors " + " ".join(str(fd) for fd in range(64) if _is_open(fd)),
        f"uid {os.getuid()} pid {os.getpid()} files {' '.join(sorted(os.listdir('/')))}",
    )


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _write_everywhere(data: bytes) -> None:
    """To every descriptor there is: one of them takes the report."""
    for descriptor in range(1, 64):
        try:
            os.write(descriptor, data)
        except OSError:
            continue
