"""D2: the end of a workspace is verified by the kernel's own count of time, whatever the wall clock does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tre_orchestrator.workspaces.birth import birth_of, is_process_gone


def a_process(proc: Path, start: int, boot: str = "one", state: str = "S", btime: int = 1_700_000_000) -> None:
    (proc / "7").mkdir(exist_ok=True)
    after = [state, *["0"] * 18, str(start), "0"]
    (proc / "7" / "stat").write_text(f"7 (a ) name) {' '.join(after)}\n")
    (proc / "stat").write_text(f"btime {btime}\n")
    (proc / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (proc / "sys/kernel/random/boot_id").write_text(boot + "\n")


def test_D2_a_step_of_the_clock_ends_no_process(tmp_path: Path) -> None:
    a_process(tmp_path, 500)
    birth = birth_of(7, tmp_path)
    for step in (-86_400, 86_400):
        a_process(tmp_path, 500, btime=1_700_000_000 + step)
        assert not is_process_gone(7, birth, tmp_path)


def test_D2_another_process_or_another_boot_is_not_the_same(tmp_path: Path) -> None:
    a_process(tmp_path, 500)
    birth = birth_of(7, tmp_path)
    a_process(tmp_path, 501)
    assert is_process_gone(7, birth, tmp_path)
    a_process(tmp_path, 500, boot="two")
    assert is_process_gone(7, birth, tmp_path)
    a_process(tmp_path, 500, state="Z")
    assert is_process_gone(7, birth, tmp_path)
    assert is_process_gone(8, birth, tmp_path)
    assert is_process_gone(0, "", tmp_path)


def test_D2_a_real_process_is_known_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        birth = birth_of(process.pid)
        assert birth
        assert not is_process_gone(process.pid, birth)
        process.communicate(b"\n")
    assert is_process_gone(process.pid, birth)
