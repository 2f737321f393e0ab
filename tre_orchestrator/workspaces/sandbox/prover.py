"""Proves the lock on this machine (N2): the probe is run by the launcher in the very same sandbox, and without it.

Everything happens in a network namespace made for it, whose only interface carries the addresses that are tried, with
listeners behind them: nothing is sent to a real outside address, a machine without network can be proven, and a lock
that left out its network namespace would be in the control's, where everything answers. Call `prove` in a process that
ends afterwards. Standard library only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.workspaces import plan as places
from tre_orchestrator.workspaces.plan import Mount, PlanLimits, WorkspacePlan
from tre_orchestrator.workspaces.proof import Attempt, ProofRecord, judge, record_data
from tre_orchestrator.workspaces.sandbox import control, kernel, launcher, probe
from tre_orchestrator.workspaces.sandbox.arguments import Mode
from tre_orchestrator.workspaces.sandbox.begin import owners_of
from tre_orchestrator.workspaces.sandbox.lock import MachineLock, machine_digest
from tre_orchestrator.workspaces.sandbox.options import Options

LIMITS = PlanLimits(memory_mib=512, cpus=2.0, processes=128, disk_mib=32, tmp_mib=16)
UNCHANGED = "dataset: its bytes are what they were"
_DATASET = "proof"
_ANSWER_BYTES = 4 << 20

ESSENTIAL = frozenset(
    {
        *(
            f"TCP to {name}"
            for name in ("the gate", "the metadata service (IPv4)", "the Internet (IPv4)", "DNS by TCP")
        ),
        *("UDP to DNS", "unix socket of the supervisor", "unix socket of another workspace", "abstract unix socket"),
        *("file: another workspace's home", "file: the keys", "see a foreign process", "new user namespace"),
        *("dataset: open for writing", "dataset: create a file", "dataset: hard link into outputs", UNCHANGED),
    }
)
"""Without a control that reaches all of these there is no proof."""


def prove(options: Options, locked: MachineLock) -> dict[str, Any]:
    """Try the lock; returns the record as JSON data. Raises `Unavailable` when the trial itself could not be made."""
    folder = options.root_state if locked.lock.mode is not Mode.user else options.run_dir
    try:
        with _scratch_below(folder) as scratch:
            site = _Site.build(options, scratch, locked)
            control.enter_namespaces()
            with control.surroundings(site.targets, scratch):
                outside = site.try_outside()
                inside = site.try_inside(locked)
    finally:
        locked.lock.limits.clear(f"{options.prefix}proof-{os.getpid()}")
    passed, results = judge(outside, inside, ESSENTIAL)
    now = dt.datetime.now(dt.UTC)
    where = (machine_digest(), platform.release())
    return record_data(ProofRecord(locked.digest, now, platform.node(), passed, results, *where))


@contextlib.contextmanager
def _scratch_below(folder: Path) -> Iterator[Path]:
    """A folder for this proof alone, gone afterwards; those that killed proofs have left go first.

    What is still in use when a proof ends goes before the next one.
    """
    with _locked(folder, fcntl.LOCK_EX):
        for left in folder.glob("proof-*"):
            with contextlib.suppress(BlockingIOError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left)
        scratch = folder / f"proof-{secrets.token_hex(8)}"
        scratch.mkdir()
        held = contextlib.ExitStack()
        held.enter_context(_locked(scratch, fcntl.LOCK_EX))
    with held:
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Site:
    """A TRE in a scratch folder: one workspace to be locked, and everything around it that it must not reach."""

    options: Options
    plan: WorkspacePlan
    start: launcher.Start
    targets: dict[str, Any]
    dataset: Path
    copy: Path

    @classmethod
    def build(cls, options: Options, scratch: Path, locked: MachineLock) -> _Site:
        owners = owners_of(options, locked.lock.mode, "proof", "proof")
        own = scratch / "workspaces" / ("p" * 16)
        mine = replace(
            options,
            state_dir=scratch,
            run_dir=scratch / "run",
            data_roots=(scratch / "data",),
            inside=scratch / "inside",
            software=None,
        )
        for path in (
            "run/ws",
            f"data/{_DATASET}",
            "inside",
            "shared/proof",
            "keys",
            "copy",
            "other/home",
            "other/shared",
        ):
            (scratch / path).mkdir(parents=True)
        for name in ("home", "outputs", "imports", "outcomes"):
            (own / name).mkdir(parents=True)
        for path in ("keys/inner.key", "other/home/notebook.txt", "other/shared/table.txt"):
            (scratch / path).write_text("a secret of somebody else\n")
        for folder in (scratch / "data" / _DATASET, scratch / "copy"):
            (folder / "rows.csv").write_text("id,value\n1,2\n")
        shutil.copy(probe.__file__, scratch / "inside" / "probe.py")
        targets = control.targets(scratch)
        inside_targets = {
            **targets,
            "datasets": [f"{places.DATA}/{_DATASET}"],
            "writable": places.OUTPUTS,
            "read_only": {path: path for path in control.READ_ONLY},
        }
        (own / "imports" / "targets.json").write_text(json.dumps(inside_targets))
        for folder in (scratch / "data", scratch / "inside", own / "imports", own / "outcomes"):
            _open_to_all(folder)
        if owners is not None:
            for folder in (own / "home", own / "outputs", scratch / "shared" / "proof", scratch / "run" / "ws"):
                os.chown(folder, owners.service, owners.service)
        plan = _plan(mine, own)
        start = launcher.Start(
            plan=plan,
            roots=mine.roots,
            owners=owners,
            group=f"{options.prefix}proof-{os.getpid()}",
            sockets=os.open(scratch / "run" / "ws", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            environment=dict(plan.variables),
        )
        return cls(mine, plan, start, targets, scratch / "data" / _DATASET, scratch / "copy")

    def try_outside(self) -> list[Attempt]:
        """The positive control: the same probe, not locked, on a writable copy of the dataset."""
        before = _digest(self.copy)
        answer = _in_child(lambda: control.unlocked(self.targets, self.copy))
        attempts = [_attempt(said, broken_is_reached=False) for said in answer["attempts"]]
        (self.copy / "rows.csv").write_text("written by the control\n")
        return [*attempts, Attempt(UNCHANGED, _digest(self.copy) != before, "the control can write to its copy")]

    def try_inside(self, locked: MachineLock) -> list[Attempt]:
        """The locked attempt, started by the same launcher with the same arguments as every workspace."""
        before = _digest(self.dataset)
        answer = _answer_of(_run_locked(locked, self.start))
        for what, is_so in answer["sane"].items():
            if not is_so:
                raise Unavailable("proof", f"The lock could not be tried: inside, the {what} test failed.")
        attempts = [_attempt(said, broken_is_reached=True) for said in answer["attempts"]]
        changed = _digest(self.dataset) != before
        return [*attempts, Attempt(UNCHANGED, changed, "changed" if changed else "unchanged")]


def _plan(options: Options, own: Path) -> WorkspacePlan:
    roots = options.roots
    mounts = (
        Mount(roots.environment, places.ENVIRONMENT, False),
        Mount(roots.inside, places.INSIDE, False),
        Mount(str(own / "home"), places.HOME, True),
        Mount(str(own / "outputs"), places.OUTPUTS, True),
        Mount(f"{roots.shared}/proof", places.SHARED, True),
        Mount(str(own / "imports"), places.IMPORTS, False),
        Mount(str(own / "outcomes"), places.OUTCOMES, False),
        Mount(f"{roots.data[0]}/{_DATASET}", f"{places.DATA}/{_DATASET}", False),
    )
    return WorkspacePlan(
        workspace=own.name,
        person="proof",
        project="proof",
        nonce=secrets.token_hex(8),
        mounts=mounts,
        limits=LIMITS,
        variables=(("HOME", places.HOME), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/bin")),
        command=("/usr/bin/python3", "-IS", f"{places.INSIDE}/probe.py", f"{places.IMPORTS}/targets.json"),
    )


def _run_locked(locked: MachineLock, start: launcher.Start) -> str:
    """Everything the sandbox printed. Raises `Unavailable` with its last words when it did not come up."""
    report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log_read, log_write = os.pipe()
    status_read, status_write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        launcher.launch(locked.lock, start, parent, theirs, log_write, status_write)
    for descriptor in (theirs.detach(), log_write, status_write):
        os.close(descriptor)
    with open(log_read, "rb") as stream:
        printed = stream.read(_ANSWER_BYTES).decode(errors="replace")
    os.waitpid(child, 0)
    os.close(status_read)
    report.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while data := report.recv(4096):
            failed = json.loads(data).get("error")
            if failed:
                raise Unavailable("proof", f"The lock could not be tried. {failed['sentence']}")
    return printed


def _answer_of(printed: str) -> dict[str, Any]:
    line = next((line for line in printed.splitlines() if line.startswith(probe.MARK)), None)
    if line is None:
        words = printed.strip().splitlines()[-1:] or ["it printed nothing"]
        raise Unavailable("proof", f"The lock could not be tried: the probe did not answer ({words[0][:300]}).")
    return dict(json.loads(line.removeprefix(probe.MARK)))


def _attempt(said: dict[str, Any], *, broken_is_reached: bool) -> Attempt:
    """A probe that broke proves nothing: it counts against the control, and against the lock."""
    reached = broken_is_reached if said["broken"] else said["reached"]
    return Attempt(said["target"], reached, said["detail"])


def _in_child(work: Any) -> dict[str, Any]:
    """The work's answer, from a process whose namespaces and descriptors end with it."""
    ours, theirs = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            kernel.die_with_parent(signal.SIGKILL, parent)
            said = json.dumps(work()).encode()
        except Exception as error:  # noqa: BLE001  # told by the parent
            said = json.dumps({"failed": str(error)}).encode()
        try:
            with open(theirs, "wb") as stream:
                stream.write(said)
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    answer = dict(json.loads(said or b'{"failed": "it ended without an answer"}'))
    if "failed" in answer:
        raise Unavailable("proof", f"The lock could not be tried: the control failed ({answer['failed']}).")
    return answer


def _digest(folder: Path) -> str:
    """Names and bytes of everything in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _open_to_all(folder: Path) -> None:
    """Permissions that allow everything: what is then refused inside was refused by the mount alone."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
