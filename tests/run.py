"""Runs the tests with a PostgreSQL server of their own: first what may run side by side, then what needs the machine.

What drives a browser gets a process of its own: a second Playwright in one process refuses to start. `python -m
tests.run` runs everything; with arguments it hands them to one pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.postgres import postgres_server

ALONE = "sandbox or browser or stack or slow"
BROWSERS = ("tests/e2e", "tests/web")
PHASES = (
    ["-n", "2", "-m", f"not ({ALONE})"],
    ["-m", ALONE, *(f"--ignore={folder}" for folder in BROWSERS)],
    *(["-m", ALONE, folder] for folder in BROWSERS),
)


def main(arguments: list[str]) -> int:
    """1 when any run failed or was killed; no run is left out because an earlier one failed."""
    with postgres_server() as url:
        environment = {**os.environ, "TEST_POSTGRES_URL": url}
        runs = [arguments] if arguments else PHASES
        codes = [
            subprocess.run([sys.executable, "-m", "pytest", "-q", *run], env=environment, check=False).returncode
            for run in runs
        ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
