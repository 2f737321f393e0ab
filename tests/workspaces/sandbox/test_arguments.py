"""bwrap's arguments, as data: what every mode has in common, and what may differ."""

from __future__ import annotations

import pytest

from tre_orchestrator.workspaces.sandbox.arguments import Bind, Jail, Mode, arguments, command, small_files, template

JAIL = {
    "uid": 2_000_000_007,
    "binds": (
        Bind("/stage/0", "/data/survey"),
        Bind("/stage/1", "/home/analyst", True),
        Bind("/stage/2", "/outputs", True),
    ),
    "tmp_mib": 256,
    "processes": 300,
    "command": ("/opt/env/bin/python", "/opt/tre/nbmain.py"),
}
EVERY_MODE = pytest.mark.parametrize("mode", Mode)


def jail(mode: Mode) -> Jail:
    return Jail(mode=mode, **JAIL)  # type: ignore[arg-type]


@EVERY_MODE
def test_every_namespace_is_unshared_and_nothing_survives(mode: Mode) -> None:
    words = arguments(jail(mode))
    for word in ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"):
        assert word in words
    for word in ("--new-session", "--die-with-parent", "--seccomp", "--cap-drop"):
        assert word in words
    assert "--setenv" not in words
    assert not any(word.startswith(("--share", "--dev-bind")) for word in words)


@EVERY_MODE
def test_N3_only_what_the_plan_names_is_writable(mode: Mode) -> None:
    words = arguments(jail(mode))
    writable = [words[at + 2] for at, word in enumerate(words) if word in ("--bind", "--bind-try")]
    assert writable == ["/home/analyst", "/outputs"]
    assert words.index("--remount-ro") < len(words)
    assert words[len(words) - words[::-1].index("--remount-ro")] == "/"


@EVERY_MODE
def test_D1_datasets_are_bound_read_only(mode: Mode) -> None:
    words = arguments(jail(mode))
    at = words.index("/data/survey")
    assert words[at - 2] == "--ro-bind"


def test_user_namespaces_are_closed_to_nesting() -> None:
    for mode in (Mode.root, Mode.user):
        words = arguments(jail(mode))
        assert {"--unshare-user", "--disable-userns"} <= set(words)
        assert "--cap-add" not in words
    assert "--unshare-user" not in arguments(jail(Mode.root_no_userns))


def test_without_user_namespaces_the_uid_is_dropped_inside_with_every_capability() -> None:
    words = command(jail(Mode.root_no_userns))
    assert words[0] == "/usr/bin/setpriv"
    assert {"--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"} <= set(words)
    assert words[words.index("--reuid") + 1] == "2000000007"
    assert words[-2:] == list(JAIL["command"])  # type: ignore[call-overload]


@EVERY_MODE
def test_the_process_limit_is_set_inside(mode: Mode) -> None:
    assert "--nproc=300" in command(jail(mode))


@EVERY_MODE
def test_the_template_is_the_same_for_every_workspace(mode: Mode) -> None:
    told = template(mode)
    assert told == template(mode)
    assert "2000000007" not in str(told)
    assert "--unshare-net" in told["arguments"]


def test_there_is_no_resolver_and_no_other_account_inside() -> None:
    files = small_files(jail(Mode.root))
    assert b"dns" not in files["nsswitch"]
    assert files["passwd"].count(b"\n") == 1
