"""The process in the sandbox that looks at one file: descriptor 0 is the file, another one takes the report.

It limits itself before it touches the first byte, says hello, runs the checks, and answers with one line of JSON that
repeats the nonce it was given. Whatever else happens (a crash, a signal, silence, noise), the runner outside makes
`unparsed` of it. What a parser prints goes nowhere.
"""

from __future__ import annotations

import ctypes.util
import importlib
import json
import os
import resource
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tre_orchestrator.airlock.checks.model import Report, Rules

Scan = Callable[[str, bytes, Callable[[bytes], str], Rules], Report]
_READ = 1 << 20


def main(job_text: str, report_to: int) -> None:
    """Do the job: {"entry", "path", "nonce", "rules", "memory", "cpu"}."""
    job: dict[str, Any] = json.loads(job_text)
    scan = _load(job["entry"])
    magic = _magic()
    _limit(job["memory"], job["cpu"])
    os.write(report_to, f"hello {job['nonce']}\n".encode())
    report = scan(job["path"], _read_all(), magic, Rules(**job["rules"]))
    answer = {"nonce": job["nonce"], "kind": report.kind, "findings": [asdict(finding) for finding in report.findings]}
    with os.fdopen(report_to, "wb") as out:
        out.write(json.dumps(answer).encode() + b"\n")


def _load(entry: str) -> Scan:
    module, _, name = entry.partition(":")
    function: Scan = getattr(importlib.import_module(module), name)
    return function


def _magic() -> Callable[[bytes], str]:
    ctypes.util.find_library = _by_soname  # the stock one starts ldconfig and a compiler to find what the loader knows
    import magic

    detector = magic.Magic(mime=True)
    return lambda data: str(detector.from_buffer(data[: 1 << 16]))


def _by_soname(name: str) -> str | None:
    return None


def _read_all() -> bytes:
    pieces = []
    while piece := os.read(0, _READ):
        pieces.append(piece)
    return b"".join(pieces)


def _limit(memory: int, cpu: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))
