"""The supervisor's log is put aside when it is full, by whoever writes it, without losing a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_WRITERS = """
import os, sys
from pathlib import Path
from tre_orchestrator.workspaces.sandbox import journal
state, limit, lines = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
journal.LOG_BYTES = limit
children = []
for writer in range(3):
    child = os.fork()
    if child == 0:
        for number in range(lines):
            journal.note("written", writer=writer, number=number)
        os._exit(0)
    children.append(child)
asides = 0
while children:
    asides += journal.put_aside_when_full(state)
    for child in list(children):
        if os.waitpid(child, os.WNOHANG)[0]:
            children.remove(child)
print(asides + journal.put_aside_when_full(state))
"""


def run(state: Path, limit: int, lines: int = 400) -> int:
    """Three processes write beside a fourth that puts the log aside; how often it did."""
    with (state / "log" / "supervisor.log").open("ab") as log:
        command = [sys.executable, "-c", _WRITERS, str(state), str(limit), str(lines)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=True, timeout=120)
    return int(done.stdout)


def written(*files: Path) -> list[tuple[int, int]]:
    said = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted((line["writer"], line["number"]) for line in said)


def test_a_full_log_is_put_aside_and_no_line_is_lost(state_dir: Path) -> None:
    log, kept = state_dir / "log" / "supervisor.log", state_dir / "log" / "supervisor.log.1"
    assert run(state_dir, limit=80_000) == 1
    assert kept.stat().st_size >= 80_000
    assert log.stat().st_size < 80_000
    assert written(kept, log) == [(writer, number) for writer in range(3) for number in range(400)]


def test_only_the_newest_full_log_is_kept(state_dir: Path) -> None:
    assert run(state_dir, limit=10_000) + run(state_dir, limit=10_000) > 1
    assert sorted(os.listdir(state_dir / "log")) == ["supervisor.log", "supervisor.log.1"]
    assert written(state_dir / "log" / "supervisor.log.1")


@pytest.mark.parametrize("planted", ["link", "hard link", "folder", "pipe"])
def test_nothing_else_is_written_or_emptied(state_dir: Path, planted: str) -> None:
    """The folder may belong to the services, the supervisor to root."""
    other, kept = state_dir / "keys" / "ledger.pem", state_dir / "log" / "supervisor.log.1"
    other.write_text("secret")
    if planted == "link":
        kept.symlink_to(other)
    elif planted == "hard link":
        kept.hardlink_to(other)
    elif planted == "folder":
        kept.mkdir()
    else:
        os.mkfifo(kept)
    assert run(state_dir, limit=1_000, lines=20) == 0
    assert other.read_text() == "secret"
    assert len(written(state_dir / "log" / "supervisor.log")) == 60


def test_a_log_that_is_no_file_is_written_on(state_dir: Path) -> None:
    command = [sys.executable, "-c", _WRITERS, str(state_dir), "1", "5"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert (done.stdout, len(done.stderr.splitlines())) == (b"0\n", 15)
