"""The system call filter of both architectures, judged by an interpreter of its bytes."""

from __future__ import annotations

import errno
import signal
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workspaces.sandbox.bpf import loads, verdict
from tre_orchestrator.workspaces.sandbox.seccomp import (
    ALLOW,
    ARCHITECTURES,
    DENIED,
    ERRNO,
    KILL_PROCESS,
    filter_bytes,
    program,
)
from tre_orchestrator.workspaces.sandbox.syscalls import LAST, NUMBERS, number

BOTH = pytest.mark.parametrize("architecture", ARCHITECTURES)
FILTERS = {name: filter_bytes(name) for name in ARCHITECTURES}
ORDINARY = {
    # what notebooks live on: read write openat close mmap mprotect futex execve connect sendto epoll wait4 exit_group
    "x86_64": (0, 1, 257, 3, 9, 10, 202, 59, 42, 44, 232, 61, 231),
    "aarch64": (63, 64, 56, 57, 222, 226, 98, 221, 203, 206, 22, 260, 94),
}


def judged(architecture: str, name: str, *arguments: int, **options: bool) -> int:
    call = number(name, architecture)
    assert call is not None
    bytes_ = filter_bytes(architecture, **options) if options else FILTERS[architecture]
    return verdict(bytes_, ARCHITECTURES[architecture], call, *arguments)


@BOTH
def test_the_kernel_would_load_it(architecture: str) -> None:
    for no_shared_memory in (False, True):
        assert loads(filter_bytes(architecture, no_shared_memory=no_shared_memory))
    assert len(program(architecture)) < 256


@BOTH
def test_every_denied_call_fails_with_eperm(architecture: str) -> None:
    for name in DENIED:
        if number(name, architecture) is not None:
            assert judged(architecture, name) == ERRNO | errno.EPERM, name


@BOTH
def test_ordinary_calls_are_allowed(architecture: str) -> None:
    for call in ORDINARY[architecture]:
        assert verdict(FILTERS[architecture], ARCHITECTURES[architecture], call) == ALLOW, call


@BOTH
def test_foreign_architectures_are_killed(architecture: str) -> None:
    for foreign in (0x40000003, 0x40000028, *(set(ARCHITECTURES.values()) - {ARCHITECTURES[architecture]})):
        assert verdict(FILTERS[architecture], foreign, 1) == KILL_PROCESS


def test_x32_calls_are_killed() -> None:
    assert verdict(FILTERS["x86_64"], ARCHITECTURES["x86_64"], 0x40000000 | 39) == KILL_PROCESS


@BOTH
def test_threads_and_forks_are_allowed_and_namespaces_are_not(architecture: str) -> None:
    thread = 0x3D0F00
    assert judged(architecture, "clone", thread) == ALLOW
    assert judged(architecture, "clone", signal.SIGCHLD) == ALLOW
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert judged(architecture, "clone", flag | signal.SIGCHLD) == ERRNO | errno.EPERM, hex(flag)
    assert judged(architecture, "clone3", 0) == ERRNO | errno.ENOSYS


@BOTH
def test_only_unix_and_ip_sockets_can_be_made(architecture: str) -> None:
    for name in ("socket", "socketpair"):
        for family in range(64):
            wanted = {1: ALLOW, 2: ALLOW, 10: ALLOW, 16: ERRNO | errno.EOPNOTSUPP}.get(
                family, ERRNO | errno.EAFNOSUPPORT
            )
            assert judged(architecture, name, family, 1, 0) == wanted, family


@BOTH
def test_N1_only_the_socket_types_and_protocols_that_notebooks_need_can_be_made(architecture: str) -> None:
    flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    for family, types, protocols in ((1, {1, 2, 5}, {0}), (2, {1, 2}, {0, 6, 17}), (10, {1, 2}, {0, 6, 17})):
        for type_ in range(16):
            wanted = ALLOW if type_ in types else ERRNO | errno.ESOCKTNOSUPPORT
            assert judged(architecture, "socket", family, type_ | flags, 0) == wanted, (family, type_)
        for protocol in (*range(300), 0xFFFFFFFF):  # 132 SCTP, 136 UDP-Lite, 256 SMC, 262 MPTCP
            wanted = ALLOW if protocol in protocols else ERRNO | errno.EPROTONOSUPPORT
            assert judged(architecture, "socket", family, 1 | flags, protocol) == wanted, (family, protocol)


@BOTH
def test_terminal_input_is_refused_also_with_high_bits_set(architecture: str) -> None:
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x541C | 0xABCD << 48):
        assert judged(architecture, "ioctl", 0, request) == ERRNO | errno.EPERM
    assert judged(architecture, "ioctl", 0, 0x5401) == ALLOW


@BOTH
def test_only_the_plain_personality_is_allowed(architecture: str) -> None:
    assert judged(architecture, "personality", 0) == ALLOW
    assert judged(architecture, "personality", 0xFFFFFFFF) == ALLOW
    assert judged(architecture, "personality", 0x0040000) == ERRNO | errno.EPERM


@BOTH
def test_devices_cannot_be_made_but_pipes_can(architecture: str) -> None:
    for name, before in (("mknod", (0,)), ("mknodat", (0, 0))):
        if number(name, architecture) is None:
            continue
        for kind, wanted in ((0x2000, ERRNO | errno.EPERM), (0x6000, ERRNO | errno.EPERM), (0x1000, ALLOW), (0, ALLOW)):
            assert judged(architecture, name, *before, kind | 0o600) == wanted, (name, hex(kind))


@BOTH
def test_shared_memory_is_refused_only_where_nothing_else_counts_it(architecture: str) -> None:
    shared, private = 0x21, 0x22
    for name in ("memfd_create", "shmget"):
        assert judged(architecture, name) == ALLOW
        assert judged(architecture, name, no_shared_memory=True) == ERRNO | errno.EPERM
    assert judged(architecture, "mmap", 0, 4096, 3, shared) == ALLOW
    assert judged(architecture, "mmap", 0, 4096, 3, shared, no_shared_memory=True) == ERRNO | errno.EPERM
    assert judged(architecture, "mmap", 0, 4096, 3, private, no_shared_memory=True) == ALLOW
    assert judged(architecture, "mmap", 0, 4096, 3, 1, no_shared_memory=True) == ALLOW


@given(
    st.sampled_from(list(ARCHITECTURES)),
    st.integers(LAST + 1, 2**32 - 1),
    st.lists(st.integers(0, 2**64 - 1), max_size=6),
)
def test_calls_newer_than_the_table_do_not_exist(architecture: str, call: int, arguments: list[int]) -> None:
    result = verdict(FILTERS[architecture], ARCHITECTURES[architecture], call, *arguments)
    assert result in (ERRNO | errno.ENOSYS, KILL_PROCESS)


@given(st.sampled_from(list(ARCHITECTURES)), st.integers(0, LAST), st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_no_argument_opens_a_denied_call(architecture: str, call: int, arguments: list[int]) -> None:
    denied = {number(name, architecture) for name in DENIED}
    result = verdict(FILTERS[architecture], ARCHITECTURES[architecture], call, *arguments)
    if call in denied:
        assert result == ERRNO | errno.EPERM
    else:
        assert result in (ALLOW, *(ERRNO | code for code in (1, 38, 95, 97)))


def test_the_tables_hold_each_number_once_and_agree_above_424() -> None:
    for column in (0, 1):
        known = [pair[column] for pair in NUMBERS.values() if pair[column] is not None]
        assert len(set(known)) == len(known)
        assert max(known) <= LAST
    for name, (x86, arm) in NUMBERS.items():
        if x86 is not None and x86 >= 424:
            assert x86 == arm, name
