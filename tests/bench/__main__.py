"""Runs every benchmark, prints what it says, and writes it with the machine into docs/benchmarks.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

PARTS = {
    "Starting a workspace": "tests.bench.workspace_bench",
    "Until Lab can be used": "tests.bench.lab_bench",
    "The gate": "tests.bench.gate_bench",
    "The ledger": "tests.bench.ledger_bench",
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `make bench`. Every figure is a ratio or a difference against a named peer, measured in turns within one run,
because machines differ and drift; a target that was missed says so. Seconds belong to this machine only.

The gate and its peer are measured with real-time scheduling. Appending to the ledger goes past the ORM, so its first
peer does too: the same driver inserts the same columns, with the same commit and fsync. The second is the ORM's insert.
"""


def main() -> int:
    """The worst exit code of the parts: 1 when a target was missed."""
    load = os.getloadavg()[0]
    worst, sections = 0, [INTRODUCTION, _machine(load)]
    for title, module in PARTS.items():
        done = subprocess.run([sys.executable, "-m", module], stdout=subprocess.PIPE, text=True, check=False)
        sys.stdout.write(done.stdout)
        worst = worst or int(done.returncode != 0)
        sections.append(f"## {title}\n\n`python -m {module}`\n\n```text\n{done.stdout.rstrip()}\n```\n")
    PAGE.write_text("\n".join(sections), encoding="utf-8")
    return worst


def _machine(load: float) -> str:
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    rows = {
        "when": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, load before the run {load:.1f}",
        "processor": f"{os.cpu_count()} × {model[1] if model else platform.machine()}",
        "memory": f"{int(memory[1]) >> 20} GiB" if memory else "unknown",
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME', '')}, Linux {platform.release()}",
        "Python": platform.python_version(),
        "revision": revision.stdout.strip() or "unknown",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""])


if __name__ == "__main__":
    sys.exit(main())
