"""A3: a reader that crashes, hangs, eats memory, lies or looks around makes `unparsed`, and reaches nothing."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.airlock.build import CLEAN, SMALL, Airlock, InProcess
from tre_orchestrator.airlock.checks.model import Report, Rules, Verdict
from tre_orchestrator.airlock.runner import Limits, Scanner
from tre_orchestrator.airlock.states import State
from tre_orchestrator.errors import Unavailable

pytestmark = pytest.mark.sandbox
RULES = Rules(small_count=10, max_rows=5000, max_bytes=16 << 20)
HERE = Path(__file__).parent
LIMITS = Limits(memory_mib=512, cpu_seconds=3, wall_seconds=40.0, output_bytes=1 << 20)
SHORT = Limits(memory_mib=512, wall_seconds=10.0)


def run(probe: str, data: bytes = b"secret,row\n", limits: Limits = LIMITS) -> Report:
    return Scanner(limits, entry=f"probe_scans:{probe}", also=(HERE,)).scan("a.csv", [data], RULES)


@pytest.mark.parametrize(
    "probe",
    [
        "crashes", "raises", "exits_well", "killed", "hangs", "closes_its_answer", "spins", "eats_memory",
        "answers_without_end", "answers_garbage", "forges_a_pass", "forges_a_pass_and_goes_on", "says_another_kind",
        "passes_what_it_cannot_read", "invents_a_check",
    ],
)  # fmt: skip
def test_A3_whatever_a_reader_does_the_file_is_unparsed_and_for_a_human(probe: str) -> None:
    report = run(probe, limits=SHORT if probe == "hangs" else LIMITS)
    assert [finding.rule for finding in report.findings] == ["unparsed"]
    assert report.verdict is Verdict.review
    assert "secret" not in str(report)


def test_A3_the_same_probes_are_reached_and_an_honest_one_is_believed() -> None:
    """The positive control: a probe that behaves gets its answer out, so the others ended for what they did."""
    assert [finding.sentence for finding in run("prints_a_lot").findings] == ["said"]


def test_R3_a_reader_cannot_get_raw_values_out_as_samples() -> None:
    report = run("says_raw_values", b"Ann Smith 943 476 5919")
    assert [finding.sample for finding in report.findings] == ["xxx xxxxx ### ### ####"]


def test_A3_a_reader_reaches_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    tmp_path.chmod(0o755)
    abstract = f"tre-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        unix.bind(str(tmp_path / "s"))
        hidden.bind("\0" + abstract)
        for listener in (unix, hidden):
            listener.listen()
        for family, address in (
            (socket.AF_INET, tcp.getsockname()),
            (socket.AF_UNIX, str(tmp_path / "s")),
            (socket.AF_UNIX, "\0" + abstract),
        ):
            with socket.socket(family) as control:
                control.connect(address)  # the positive control: from here each of them can be reached
        where = [str(tcp.getsockname()[1]), str(tmp_path / "s"), abstract, str(secret)]
        report = run("looks_around", "\n".join(where).encode())
    said = [finding.sentence for finding in report.findings]
    assert len(said) == 21, report
    assert [line for line in said if "worked" in line] == []
    environment, descriptors, place = said[-3:]
    assert environment.split() == ["environment", "LC_CTYPE", "PWD"] or environment.split()[1:] in ([], ["PWD"])
    assert len(descriptors.split()) == 5  # 0 file, 1 nothing, 2 complaints, and the report
    assert re.fullmatch(r"uid [1-9]\d* pid \d files bin dev (lib\d* )+sbin tre usr", place), place


def test_A3_two_files_are_checked_by_two_processes() -> None:
    first, second = run("looks_around", b"1\n/\na\n/"), run("looks_around", b"1\n/\na\n/")
    assert first == second  # nothing of the first is there for the second to see


def test_the_real_checks_give_the_same_report_inside_and_outside() -> None:
    for path, data in (("a.csv", CLEAN), ("b.csv", SMALL), ("c.txt", b"Born on 3/4/1956"), ("d.json", b'{"n": 3}')):
        assert Scanner().scan(path, [data], RULES) == InProcess().scan(path, iter([data]), RULES)


def test_an_odd_path_is_not_even_opened() -> None:
    report = Scanner(entry="no:such").scan("../a.csv", [CLEAN], RULES)
    assert report.verdict is Verdict.block


def test_without_bubblewrap_nothing_is_checked_and_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="Bubblewrap"):
        Scanner().scan("a.csv", [CLEAN], RULES)


def test_a_program_that_cannot_start_is_said_so() -> None:
    with pytest.raises(Unavailable, match="No module named 'nowhere'"):
        Scanner(entry="nowhere:scan").scan("a.csv", [CLEAN], RULES)


def test_nothing_is_left_running_after_a_hang() -> None:
    marker = hashlib.sha256(os.urandom(8)).hexdigest()[:12]
    scanner = Scanner(SHORT, entry="probe_scans:hangs", also=(HERE,))
    report = scanner.scan(f"{marker}.csv", [b"x"], RULES)
    assert report.verdict is Verdict.review
    found = subprocess.run(["pgrep", "-f", marker], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_files_are_checked_from_several_threads_at_once() -> None:
    reports: list[Report] = []
    threads = [
        threading.Thread(target=lambda: reports.append(Scanner().scan("a.csv", [SMALL], RULES))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.verdict for report in reports] == [Verdict.block] * 4


def test_the_way_out_with_the_real_sandbox(air: Airlock) -> None:
    request = air.submit(air.draft(), {"a.csv": CLEAN, "b.bin": b"\x00\x01"})
    air.advance(Scanner())
    found = air.view(request)
    assert found.state is State.blocked, found.problem
    assert {file.path: file.verdict for file in found.files} == {"a.csv": "pass", "b.bin": "block"}
