"""The sandbox's small parts: numbers, groups on a made-up tree, systemd's words, the wire, options."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, Stale, TreError, Unavailable
from tre_orchestrator.ops import privilege
from tre_orchestrator.workspaces.plan import PlanLimits
from tre_orchestrator.workspaces.sandbox import kernel, lock, modes, startup, wire
from tre_orchestrator.workspaces.sandbox.cgroups import CgroupV2
from tre_orchestrator.workspaces.sandbox.find_limits import find_limits
from tre_orchestrator.workspaces.sandbox.lock import lock_of, refreshed
from tre_orchestrator.workspaces.sandbox.options import Options, parse
from tre_orchestrator.workspaces.sandbox.systemd import SystemdScope, start_scope_words
from tre_orchestrator.workspaces.sandbox.uids import FIRST, LAST, NumberBook, first_free, subordinate_ranges

LIMITS = PlanLimits(memory_mib=1024, cpus=1.5, processes=100, disk_mib=64, tmp_mib=16)


# --- uids ----------------------------------------------------------------------------------------------------------


def test_each_owner_has_one_number_forever(tmp_path: Path) -> None:
    book = NumberBook(tmp_path / "book")
    first = book.number("/a:workspace/x")
    second = book.number("/a:workspace/y")
    assert first >= FIRST
    assert second == first + 1
    assert NumberBook(tmp_path / "book").number("/a:workspace/x") == first
    assert book.number("/b:workspace/x") == second + 1


def test_two_processes_never_get_the_same_number(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tre_orchestrator.workspaces.sandbox.uids import NumberBook\n"
        "book = NumberBook(Path(sys.argv[1]))\n"
        "print(*[book.number(f'{sys.argv[2]}:{n}') for n in range(30)])"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    numbers = [number for process in running for number in process.communicate()[0].split()]
    assert len(numbers) == len(set(numbers)) == 90


def test_subordinate_ranges_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text(f"ana:100000:65536\nbela:{FIRST}:65536\n# no range\nbad:line\ncira:{FIRST + 65536}:10\n")
    assert first_free(FIRST, subordinate_ranges((file, tmp_path / "missing"))) == FIRST + 65546


def test_the_last_number_ends_it() -> None:
    with pytest.raises(Unavailable):
        first_free(LAST + 1, [])


@pytest.mark.parametrize("text", ["not json", '{"a": 1, "b": 1}', '["a"]'])
def test_P5_a_damaged_book_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    book = NumberBook(tmp_path / "book")
    book.number("/a:workspace/x")
    (tmp_path / "book" / "numbers.json").write_text(text)
    with pytest.raises(Unavailable, match="backup"):
        book.number("/a:workspace/y")


def test_N3_a_missing_book_is_not_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    book = NumberBook(folder)
    assert book.known() == {}
    first = book.number("/a:workspace/x")
    kept = (folder / "numbers.json").read_text()
    (folder / "numbers.json").unlink()
    with pytest.raises(Unavailable, match="Restore it from a backup"):
        book.number("/a:workspace/y")
    (folder / "numbers.json").write_text(kept)
    assert book.number("/a:workspace/y") == first + 1


def test_N3_a_book_from_before_there_was_a_marker_is_marked_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "numbers.json").write_text(json.dumps({"/a:workspace/x": FIRST}))
    assert NumberBook(tmp_path).known() == {"/a:workspace/x": FIRST}
    (tmp_path / "numbers.json").unlink()
    with pytest.raises(Unavailable, match=r"numbers\.begun"):
        NumberBook(tmp_path).known()


def test_a_book_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book").chmod(0o777)
    with pytest.raises(Unavailable, match="writable by nobody else"):
        NumberBook(tmp_path / "book").number("/a:workspace/x")


def test_the_services_uid_is_the_same_everywhere() -> None:
    assert startup.SERVICE_UID == privilege.SERVICE_UID == FIRST - 1


# --- limits --------------------------------------------------------------------------------------------------------


def test_cgroup_v2_writes_its_limits_before_it_enters(tmp_path: Path) -> None:
    """On a made-up tree: no machine with version 2 controllers was at hand."""
    group = tmp_path / "tre-x"
    group.mkdir()
    (group / "memory.current").write_text("4096\n")
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (group / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    limits = CgroupV2(tmp_path)
    limits.place("tre-x", LIMITS)
    assert (group / "memory.max").read_text() == str(1024 << 20)
    assert (group / "pids.max").read_text() == "108"
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "cgroup.procs").read_text() == str(os.getpid())
    usage = limits.usage("tre-x")
    assert usage is not None
    assert (usage.cpu_seconds, usage.memory_bytes) == (2.5, 4096)
    assert limits.freeze("tre-x")
    assert (group / "cgroup.freeze").read_text() == "1"
    limits.thaw("tre-x")
    assert (group / "cgroup.freeze").read_text() == "0"
    assert limits.groups("tre-") == ["tre-x"]
    assert not limits.freeze("tre-gone")
    assert limits.usage("tre-gone") is None


def test_cgroup_v2_that_does_not_come_to_rest_is_thawed(tmp_path: Path) -> None:
    group = tmp_path / "tre-x"
    group.mkdir()
    (group / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert not CgroupV2(tmp_path).freeze("tre-x")
    assert (group / "cgroup.freeze").read_text() == "0"


def test_a_scope_is_asked_for_with_its_limits_and_this_process() -> None:
    words = start_scope_words("tre-x.scope", 4711, LIMITS, user=False)
    said = " ".join(words)
    assert said.startswith("busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1")
    assert "StartTransientUnit ssa(sv)a(sa(sv)) tre-x.scope fail 8" in said
    for part in ("PIDs au 1 4711", f"MemoryMax t {1024 << 20}", "MemorySwapMax t 0", "TasksMax t 108"):
        assert part in said
    assert "CPUQuotaPerSecUSec t 1500000" in said
    assert words[-1] == "0"
    assert start_scope_words("tre-x.scope", 1, LIMITS, user=True)[1] == "--user"


def test_scopes_are_found_in_their_slice(tmp_path: Path) -> None:
    (tmp_path / "tre.slice" / "tre-x.scope").mkdir(parents=True)
    assert SystemdScope(tmp_path, 0).groups("tre-") == ["tre-x"]
    own = tmp_path / "user.slice" / "user-1000.slice" / "user@1000.service" / "tre.slice" / "tre-y.scope"
    own.mkdir(parents=True)
    assert SystemdScope(tmp_path, 1000).folder("tre-y") == own


def test_a_machine_without_groups_says_what_was_tried(tmp_path: Path) -> None:
    found = find_limits(tmp_path, tmp_path / "no-systemd")
    assert found.limits.kind == "none"
    assert "memory" in found.failures[0]


# --- wire ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        Refused([Refusal("a", "One."), Refusal("b", "Two.")]),
        NotFound("x", "Not there."),
        Stale("x", "Changed."),
        Invalid("x", "Bad."),
        Unavailable("x", "Gone."),
        TreError("x", "Other.", status=418),
    ],
)
def test_errors_cross_the_wire_whole(error: TreError) -> None:
    back = wire.error_from(json.loads(wire.line(wire.error_message(error)))["error"])
    assert type(back) is type(error)
    assert (back.code, back.sentence, back.status) == (error.code, error.sentence, error.status)


def test_a_conversation_that_ends_early_is_told() -> None:
    for said in (b"", b'{"ok": tr', b"[1]\n"):
        with pytest.raises(Unavailable):
            wire.read_line(io.BytesIO(said))
    for said in (b"", b"\0\0\0\x05ab", b"\0\0"):
        with pytest.raises(Unavailable):
            list(wire.receive_chunks(io.BytesIO(said)))


def test_a_file_that_is_broken_off_raises_the_senders_reason() -> None:
    said = b"\0\0\0\x02ab\xff\xff\xff\xff" + wire.line(wire.error_message(Refused([Refusal("changed", "It changed.")])))
    chunks = wire.receive_chunks(io.BytesIO(said))
    assert next(chunks) == b"ab"
    with pytest.raises(Refused, match="It changed"):
        next(chunks)


# --- options, kernel, modes ----------------------------------------------------------------------------------------


def test_options_survive_their_command_line(tmp_path: Path) -> None:
    options = Options(
        state_dir=tmp_path,
        run_dir=tmp_path / "run",
        data_roots=(tmp_path / "data", Path("/srv/a b")),
        environment=tmp_path / "env",
        inside=tmp_path / "inside",
        software=tmp_path / "shelf",
        privilege="root",
        lease_seconds=12.5,
        service=1_999_999_999,
        root_state=tmp_path / "root",
    )
    assert parse(options.words()) == options


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "link/x", "a/up"])
def test_N3_a_path_does_not_lead_out_of_its_root(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (root / "a" / "up").symlink_to("..")
    (tmp_path / "x").write_text("x")
    with pytest.raises(OSError, match=r".+"):
        kernel.open_beneath(str(root), f"{root}/{path}" if not path.startswith("/") else path, os.O_RDONLY)


def test_a_neighbour_with_the_same_beginning_is_not_below(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root2").mkdir()
    with pytest.raises(PermissionError):
        kernel.open_beneath(str(tmp_path / "root"), str(tmp_path / "root2"), os.O_RDONLY)


@pytest.mark.sandbox
def test_the_mode_is_chosen_by_trying_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert modes.choose("auto").name == "root"
    monkeypatch.setattr(modes, "try_user_namespace", lambda _uid: "setting up uid map: Permission denied")
    choice = modes.choose("auto")
    assert choice.name == "root-no-userns"
    assert "uid map" in choice.reason
    with pytest.raises(Unavailable, match="uid map"):
        modes.choose("root")
    monkeypatch.setattr(modes, "try_without_user_namespace", lambda: "no namespaces at all")
    with pytest.raises(Unavailable, match="no namespaces at all"):
        modes.choose("auto")


def test_an_ordinary_user_is_told_how_to_get_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(modes, "try_user_namespace", lambda _uid: "Operation not permitted")
    with pytest.raises(Unavailable, match="AppArmor"):
        modes.choose("auto")
    with pytest.raises(Unavailable, match="sudo"):
        modes.choose("root")


def test_a_missing_or_old_bubblewrap_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(modes, "BWRAP", str(tmp_path / "bwrap"))
    with pytest.raises(Unavailable, match="apt install bubblewrap"):
        modes.bwrap_version()
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho bubblewrap 0.6.2\n")
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(Unavailable, match="too old"):
        modes.bwrap_version()


def test_the_supervisor_needs_the_standard_library_only() -> None:
    """What root runs is kept small: -S leaves every installed package out."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import tre_orchestrator.workspaces.sandbox.supervisor, tre_orchestrator.workspaces.sandbox.probe\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        "print([file for file in files if '-packages' in file])"
    )
    root = str(Path(kernel.__file__).parents[3])
    done = subprocess.run(["/usr/bin/python3", "-ISB", "-c", code, root], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.sandbox
def test_N2_a_replaced_bubblewrap_is_another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = modes.examine("auto", tmp_path)
    first = lock_of(machine)
    assert refreshed(first, machine) is first
    assert lock_of(machine).digest == first.digest
    other = tmp_path / "bwrap"
    other.write_bytes(Path(modes.BWRAP).read_bytes() + b"\n")
    other.chmod(0o755)
    monkeypatch.setattr(modes, "BWRAP", str(other))
    assert refreshed(first, machine).digest != first.digest


@pytest.mark.sandbox
def test_N2_another_machine_or_kernel_is_another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a state folder that was moved, or a kernel upgrade, meets: no proof for this lock, so it is tried again."""
    machine = modes.examine("auto", tmp_path)
    first = lock_of(machine).digest
    assert lock_of(replace(machine, kernel="6.99.0")).digest != first
    monkeypatch.setattr(lock, "machine_digest", lambda: "another machine")
    assert lock_of(machine).digest != first


def test_N2_machines_are_told_apart_and_their_ids_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = (tmp_path / "machine-id", tmp_path / "missing")
    ids[0].write_text("0123456789abcdef\n")
    first = lock.machine_digest(ids)
    assert first == lock.machine_digest(ids)
    assert "0123456789abcdef" not in first
    ids[0].write_text("fedcba9876543210\n")
    second = lock.machine_digest(ids)
    monkeypatch.setattr(lock.platform, "node", lambda: "a-copy-of-the-image")
    assert len({first, second, lock.machine_digest(ids)}) == 3


@pytest.mark.parametrize("name", ["cgroups", "begin", "modes", "startup", "uids", "running"])
def test_N2_every_module_of_the_sandbox_is_part_of_the_lock(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sandbox"
    shutil.copytree(Path(lock.__file__).parent, package)
    monkeypatch.setattr(lock, "__file__", str(package / "lock.py"))
    first = lock.digest_of_code()
    with open(package / f"{name}.py", "a") as file:
        file.write("# changed")
    assert lock.digest_of_code() != first
