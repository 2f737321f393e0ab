"""Runs the checks over one file in a process that can harm nothing: no network, no other file, no second process.

Each file gets its own bubblewrap sandbox with new namespaces of every kind, no capability, a read-only /usr and Python,
and limits on memory, processor time, wall time and output; the file comes in as a sealed descriptor. Promise (A3): a
parser that crashes, hangs, eats memory or answers anything but one well-formed report makes the finding `unparsed`,
never a pass. Raises `Unavailable` only when the sandbox itself cannot be started.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import selectors
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tre_orchestrator.airlock.checks.kinds import PARSED, Kind
from tre_orchestrator.airlock.checks.model import PER_RULE, Finding, Report, Rules, Verdict, masked, unparsed
from tre_orchestrator.airlock.checks.paths import why_not_path
from tre_orchestrator.airlock.checks.scan import VERSIONS
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance.readable import SERVICE_UID

_PACKAGE = Path(__file__).resolve().parents[1]
_INSIDE = "/tre"
_BOOT = (
    "import sys; sys.path[:0] = sys.argv[3:]; "
    "from tre_orchestrator.airlock.checks.worker import main; main(sys.argv[1], int(sys.argv[2]))"
)
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_COMPLAINT = 1 << 16
_FINDINGS_MAX = 40 * PER_RULE
_RULE = re.compile(r"[a-z][a-z-]{0,59}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may use."""

    memory_mib: int = 1024
    cpu_seconds: int = 60
    wall_seconds: float = 60.0
    output_bytes: int = 4 << 20


class Scanner:
    """Checks files one by one. `entry` is the function that runs inside, `also` further folders it is imported from."""

    def __init__(
        self,
        limits: Limits = Limits(),
        *,
        entry: str = "tre_orchestrator.airlock.checks.scan:scan",
        also: tuple[Path, ...] = (),
    ) -> None:
        self._limits = limits
        self._entry = entry
        self._also = also

    def scan(self, path: str, chunks: Iterable[bytes], rules: Rules) -> Report:
        """The report on the file at `path` whose bytes `chunks` gives."""
        odd = why_not_path(path)
        if odd:
            return Report(Kind.unknown.value, (Finding("path", odd.code, Verdict.block, odd.sentence),))
        nonce = secrets.token_hex(16)
        job = {
            "entry": self._entry,
            "path": path,
            "nonce": nonce,
            "rules": asdict(rules),
            "memory": self._limits.memory_mib << 20,
            "cpu": self._limits.cpu_seconds,
        }
        answer = self._run(json.dumps(job), chunks)
        hello = f"hello {nonce}\n".encode()
        if not answer.said.startswith(hello):
            raise Unavailable(
                "no-check-sandbox",
                f"The sandbox for checks cannot be started ({answer.error or 'no answer'}). See `tre doctor`.",
            )
        if answer.ended is not None:
            return _not_read(answer.ended)
        return _believed(answer.said[len(hello) :], nonce)

    def _run(self, job: str, chunks: Iterable[bytes]) -> _Answer:
        read, write = os.pipe2(os.O_CLOEXEC)
        with os.fdopen(read, "rb", buffering=0) as said, _sealed(chunks) as file:
            try:
                process = subprocess.Popen(
                    self._command(job, write),
                    stdin=file.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(write,),
                    env={},
                    **_identity(),
                )
            except OSError as error:
                return _Answer(b"", None, f"bwrap: {error.strerror}")
            finally:
                os.close(write)
            with process:
                try:
                    text, why = _read(said.fileno(), self._limits)
                    code = process.wait(timeout=1.0) if why is None else None
                except subprocess.TimeoutExpired:
                    why, code = "it did not end", None
                finally:
                    process.kill()
                assert process.stderr is not None
                complaint = _last_line(process.stderr.read(_COMPLAINT)) if not text else ""
        if why is None and code != 0:
            why = "it broke off"
        return _Answer(text, why, complaint)

    def _command(self, job: str, report: int) -> list[str]:
        python = Path(os.path.realpath(sys.executable))
        packages = Path(sysconfig.get_path("purelib"))
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None:
            raise Unavailable("no-bubblewrap", "Bubblewrap is not installed, so no file can be checked. Install it.")
        command = [bubblewrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        command += ["--ro-bind", "/usr", "/usr", "--dev", "/dev"]
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                command += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
            elif Path("/", name).is_dir():
                command += ["--ro-bind", f"/{name}", f"/{name}"]
        if not python.is_relative_to("/usr"):
            command += ["--ro-bind", sys.base_prefix, sys.base_prefix]
        inside = [f"{_INSIDE}/code", f"{_INSIDE}/packages", *(f"{_INSIDE}/also{n}" for n in range(len(self._also)))]
        sources = [_PACKAGE, packages, *self._also]
        targets = [f"{inside[0]}/{_PACKAGE.name}", *inside[1:]]
        for source, target in zip(sources, targets, strict=True):
            command += ["--ro-bind", str(source), target]
        command += ["--chdir", "/", "--remount-ro", "/"]
        return [*command, "--", str(python), "-I", "-S", "-B", "-c", _BOOT, job, str(report), *inside]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came out of the sandbox, why it ended early (None: it did not), and what bubblewrap complained about."""

    said: bytes
    ended: str | None
    error: str


def _identity() -> dict[str, Any]:
    """As root, run as nobody's account; else as the caller."""
    if os.geteuid() != 0:
        return {}
    return {"user": SERVICE_UID, "group": SERVICE_UID, "extra_groups": []}


def _sealed(chunks: Iterable[bytes]) -> BinaryIO:
    """The bytes in memory, behind a descriptor through which nobody can change them."""
    file = os.fdopen(os.memfd_create("file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")
    try:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        file.seek(0)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        file.close()
        raise
    return file


def _read(descriptor: int, limits: Limits) -> tuple[bytes, str | None]:
    """Everything until the end, and why that was cut short."""
    deadline = time.monotonic() + limits.wall_seconds
    gathered = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return bytes(gathered), f"it took longer than {limits.wall_seconds:g} seconds"
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return bytes(gathered), None
            gathered += piece
            if len(gathered) > limits.output_bytes:
                return bytes(gathered), "it answered too much"


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _not_read(why: str) -> Report:
    return Report(Kind.unknown.value, (unparsed(f"The file could not be read to its end: {why}."),))


def _believed(answer: bytes, nonce: str) -> Report:
    """The report, if the answer is exactly one well-formed one; else a report that nothing was read."""
    try:
        said = json.loads(answer)
        if set(said) != {"nonce", "kind", "findings"} or said["nonce"] != nonce or not answer.endswith(b"}\n"):
            raise ValueError("another form")
        if len(said["findings"]) > _FINDINGS_MAX:
            raise ValueError("too many findings")
        kind, findings = Kind(said["kind"]), tuple(_finding(finding) for finding in said["findings"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return _not_read("its reader did not answer properly")
    if kind not in PARSED and not findings:
        return _not_read("nothing was said about it")
    return Report(kind.value, findings)


def _finding(said: dict[str, Any]) -> Finding:
    finding = Finding(**{**said, "verdict": Verdict(said["verdict"]), "sample": masked(_text(said["sample"], 100))})
    if finding.check not in VERSIONS or not _RULE.fullmatch(finding.rule):
        raise ValueError("no such check")
    _text(finding.sentence, 300)
    for number in (finding.row, finding.column, finding.line):
        if number is not None and (type(number) is not int or not 0 < number < 1 << 31):
            raise ValueError("no such place")
    if type(finding.count) is not int or not 0 < finding.count < 1 << 31:
        raise ValueError("no such number")
    if type(finding.more) is not bool:
        raise ValueError("no such word")
    return finding


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ValueError("no such text")
    return value
