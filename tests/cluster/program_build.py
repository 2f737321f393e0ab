"""Kubernetes, Cilium, containerd and runc, built as the Go tools that `programs/*/go.mod` pin.

One module for each, since their dependencies disagree. What is built is decided by go.mod and go.sum alone
(`-mod=readonly`), and go never fetches another toolchain. Ten minutes or more on two cores from nothing, then seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import HERE, cache_dir, digest, find, made
from tre_orchestrator.errors import Unavailable

_MODULES = HERE / "programs"
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class _Program:
    """A module below `programs/` and how its tools are built. `link` and `tags` are go build's -X and -tags."""

    name: str
    link: tuple[str, ...] = ()
    tags: str = ""
    cgo: bool = False
    sources: tuple[str, str] | None = None
    """A module and the folder of it that the programs need at run time."""


PROGRAMS = (
    # Without a version kubelet calls itself v0.0.0 and clients refuse to compare.
    _Program("kubernetes", (f"{_VERSION}.gitVersion=v1.34.4", f"{_VERSION}.gitMajor=1", f"{_VERSION}.gitMinor=34")),
    # The agent compiles its data path with clang when it starts.
    _Program("cilium", sources=("github.com/cilium/cilium", "bpf")),
    _Program("containerd"),
    _Program("runc", ("main.version=1.5.2",), tags="seccomp", cgo=True),
)


def programs_dir() -> Path:
    """Where the programs are, or will be: named after every go.mod, every go.sum and the way they are built."""
    files = [_MODULES / program.name / name for program in PROGRAMS for name in ("go.mod", "go.sum")]
    return cache_dir() / f"programs-{digest(files, repr(PROGRAMS))}"


def find_programs() -> Path:
    """The folder of the built programs; raises `Unavailable` when it is not there."""
    return find(programs_dir(), "cluster programs")


def build_programs(say: Callable[[str], None]) -> Path:
    """Build all of them unless they are there; raises `Unavailable` with what is missing or the compiler's words."""
    target = programs_dir()
    if not made(target, lambda partial: _build_all(partial, say)):
        say("The programs are there")
    return target


def why_no_go() -> str | None:
    """What to install before anything can be built, or None. The newest `go` line of the modules decides."""
    wanted = max(_go_line(_MODULES / program.name / "go.mod") for program in PROGRAMS)
    words = f"Install Go {'.'.join(map(str, wanted))} or newer, so that `go` is in PATH"
    go = shutil.which("go")
    if go is None:
        return f"There is no `go`. {words}."
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env=_environment(), check=False)
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
    if match is None or tuple(int(part or 0) for part in match.groups()) < wanted:
        return f"{go} is {answer.stdout.strip() or 'broken'}, which is too old. {words}."
    return None


def _go_line(module: Path) -> tuple[int, ...]:
    match = re.search(r"^go (\d+)\.(\d+)\.(\d+)$", module.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise Unavailable("cluster-build", f"{module} has no line `go 1.x.y`.")
    return tuple(int(part) for part in match.groups())


def _build_all(folder: Path, say: Callable[[str], None]) -> None:
    reason = why_no_go()
    if reason:
        raise Unavailable("cluster-go", reason)
    for program in PROGRAMS:
        say(f"Building {program.name} (minutes, when its sources were never compiled here)")
        began = time.monotonic()
        _build(program, folder)
        say(f"{program.name} took {time.monotonic() - began:.0f} s")


def _build(program: _Program, folder: Path) -> None:
    flags = " ".join(["-s", "-w", *(f"-X {value}" for value in program.link)])
    options = ["-ldflags", flags, *(["-tags", program.tags] if program.tags else [])]
    _go(program, "build", *options, "-o", f"{folder}/", "tool")
    if program.sources:
        module, name = program.sources
        shutil.copytree(Path(_go(program, "list", "-m", "-f", "{{.Dir}}", module)) / name, folder / name)
        subprocess.run(["chmod", "-R", "u+w", str(folder / name)], check=True)


def _go(program: _Program, *arguments: str) -> str:
    done = subprocess.run(
        ["go", *arguments],
        cwd=_MODULES / program.name,
        env=_environment() | {"CGO_ENABLED": str(int(program.cgo))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise Unavailable(
            "cluster-build",
            f"Could not build {program.name}: {words}. Without a way to a Go module proxy set GOPROXY; the Debian "
            "packages it needs are APT_CLUSTER in the Makefile.",
        )
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    fixed = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    return {**os.environ, **fixed}
