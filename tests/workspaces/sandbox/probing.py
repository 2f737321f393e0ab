"""The probe run from a notebook's kernel, and the same probe run outside as its control."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from tre_orchestrator.workspaces.proof import Attempt
from tre_orchestrator.workspaces.sandbox import control, kernel, probe


def cell(targets: dict[str, Any]) -> str:
    """Code for a cell that runs the probe on these targets and prints its answer. Short enough to be typed."""
    sources = {"probe.py": Path(probe.__file__).read_text(), "targets.json": json.dumps(targets)}
    packed = base64.b64encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
    return (
        f"packed = '{packed}'\n"
        "import base64, json, pathlib, subprocess, sys, zlib\n"
        "for name, text in json.loads(zlib.decompress(base64.b64decode(packed))).items():\n"
        "    pathlib.Path('/tmp', name).write_text(text)\n"
        "print(subprocess.run([sys.executable, '-I', '/tmp/probe.py', '/tmp/targets.json'],"
        " capture_output=True, text=True).stdout)"
    )


def outside(targets: dict[str, Any], scratch: Path) -> str:
    """What the probe prints without a lock: root's, with a folder of its own in place of what it writes to."""
    copy, empty = scratch / "copy", scratch / "empty"
    copy.mkdir()
    empty.mkdir()
    (copy / "rows.csv").write_text("id,value\n1,2\n")
    written = {
        "datasets": [str(copy)],
        "writable": str(copy),
        "read_only": {path: str(empty) for path in control.READ_ONLY},
    }
    (scratch / "targets.json").write_text(json.dumps({**targets, **written}))
    return subprocess.run(
        [sys.executable, "-I", probe.__file__, str(scratch / "targets.json")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=_own_mounts,
    ).stdout


def attempts(printed: str, *, broken_is_reached: bool) -> list[Attempt]:
    """What the probe printed, judged: one that broke counts against the control, and against the lock."""
    line = next(line for line in printed.splitlines() if line.startswith(probe.MARK))
    answer = json.loads(line.removeprefix(probe.MARK))
    return [
        Attempt(said["target"], broken_is_reached if said["broken"] else said["reached"], said["detail"])
        for said in answer["attempts"]
    ]


def _own_mounts() -> None:
    """What the control mounts ends with it."""
    kernel.unshare(kernel.CLONE_NEWNS | control.CLONE_NEWUTS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
