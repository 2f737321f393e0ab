"""What the supervisor is told when it is started, and nothing that it could be told later by the services.

In root mode the state folder belongs to the services' uid, so the folders that sources may lie below come on the
command line from root, never from a file in there. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.workspaces.plan import Roots
from tre_orchestrator.workspaces.sandbox import kernel

SOCKET = "supervisor.sock"
ROOT_STATE = Path("/var/lib/tre-orchestrator")
"""Root's own memory on this machine: the book of uids."""


@dataclass(frozen=True, slots=True)
class Options:
    """One supervisor's world. `service` is the uid that may give it orders besides its own."""

    state_dir: Path
    run_dir: Path
    data_roots: tuple[Path, ...]
    environment: Path
    inside: Path
    software: Path | None
    privilege: str
    lease_seconds: float
    service: int
    root_state: Path = ROOT_STATE

    @property
    def roots(self) -> Roots:
        """Where the sources of a plan may lie."""
        return Roots(
            workspaces=str(self.state_dir / "workspaces"),
            shared=str(self.state_dir / "shared"),
            data=tuple(str(root) for root in self.data_roots),
            environment=str(self.environment),
            inside=str(self.inside),
            software=str(self.software) if self.software else None,
        )

    @property
    def socket(self) -> Path:
        """Where the supervisor listens."""
        return self.run_dir / SOCKET

    def open_run_dir(self) -> int:
        """The folder of sockets, as a descriptor reached through no link; it belongs to the services."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        if self.run_dir.is_relative_to(self.state_dir):
            descriptor = kernel.open_beneath(str(self.state_dir), str(self.run_dir), flags)
        else:
            descriptor = os.open(self.run_dir, flags | os.O_CLOEXEC)
        if os.fstat(descriptor).st_uid not in (self.service, os.geteuid()):
            os.close(descriptor)
            raise Unavailable("run-folder", f"{self.run_dir} belongs to somebody else. Remove it and start again.")
        return descriptor

    @property
    def prefix(self) -> str:
        """What the names of this TRE's groups begin with."""
        return f"tre-{hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:8]}-"

    def words(self) -> list[str]:
        """The command line that gives these options."""
        words = [
            *(
                "--state-dir",
                str(self.state_dir),
                "--run-dir",
                str(self.run_dir),
                "--environment",
                str(self.environment),
            ),
            *("--inside", str(self.inside), "--privilege", self.privilege, "--lease-seconds", str(self.lease_seconds)),
            *("--service", str(self.service), "--root-state", str(self.root_state)),
        ]
        words += [word for root in self.data_roots for word in ("--data-root", str(root))]
        return words + (["--software", str(self.software)] if self.software else [])


def parse(words: Sequence[str]) -> Options:
    """Read the command line; argparse ends the process with a sentence when it is wrong."""
    parser = argparse.ArgumentParser(prog="supervisor", description="Starts, watches and ends workspaces.")
    for name in ("state-dir", "run-dir", "environment", "inside"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, action="append", default=[])
    parser.add_argument("--software", type=Path)
    parser.add_argument("--privilege", default="auto")
    parser.add_argument("--lease-seconds", type=float, default=60.0)
    parser.add_argument("--service", type=int, default=os.geteuid())
    parser.add_argument("--root-state", type=Path, default=ROOT_STATE)
    given = parser.parse_args(words)
    return Options(
        state_dir=given.state_dir.absolute(),
        run_dir=given.run_dir.absolute(),
        data_roots=tuple(root.absolute() for root in given.data_root),
        environment=given.environment.absolute(),
        inside=given.inside.absolute(),
        software=given.software.absolute() if given.software else None,
        privilege=given.privilege,
        lease_seconds=given.lease_seconds,
        service=given.service,
        root_state=given.root_state,
    )
