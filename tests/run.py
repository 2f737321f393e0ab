"""Runs the tests with a PostgreSQL server of their own: first what may run side by side, then what needs the machine.

What drives a browser gets a process of its own: a second Playwright in one process refuses to start. `python -m
tests.run` runs everything but the tests on a Kubernetes cluster, which are `python -m tests.run cluster`; other
arguments go to one pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from tests.postgres import postgres_server

ALONE = "sandbox or browser or stack or slow"
BROWSERS = ("tests/e2e", "tests/web")
PHASES = (
    ["-n", "2", "-m", f"not ({ALONE} or cluster)"],
    ["-m", ALONE, *(f"--ignore={folder}" for folder in BROWSERS)],
    *(["-m", ALONE, folder] for folder in BROWSERS),
)
CLUSTER = (["-m", "cluster", "tests/cluster"],)


def main(arguments: list[str]) -> int:
    """1 when any run failed or was killed; no run is left out because an earlier one failed."""
    if arguments == ["cluster"]:
        return _any_failed(CLUSTER, dict(os.environ))
    with postgres_server() as url:
        return _any_failed([arguments] if arguments else PHASES, {**os.environ, "TEST_POSTGRES_URL": url})


def _any_failed(runs: Iterable[list[str]], environment: dict[str, str]) -> int:
    commands = [[sys.executable, "-m", "pytest", "-q", *run] for run in runs]
    codes = [subprocess.run(command, env=environment, check=False).returncode for command in commands]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
