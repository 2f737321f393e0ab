"""The builder: made once per definition, whole or not at all, and plain about what is missing. Needs no cluster."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from tests.cluster.cache import HERE, find, made
from tests.cluster.image_build import NAMES, image
from tests.cluster.program_build import PROGRAMS, programs_dir, why_no_go
from tre_orchestrator.errors import Unavailable


def test_a_folder_is_made_once_also_by_two_builders_at_the_same_time(tmp_path: Path) -> None:
    calls = []

    def make(partial: Path) -> None:
        calls.append(partial)
        time.sleep(0.1)
        (partial / "whole").touch()

    builders = [threading.Thread(target=made, args=(tmp_path / "it", make)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()

    assert len(calls) == 1
    assert (tmp_path / "it" / "whole").exists()


def test_a_build_that_fails_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise Unavailable("cluster-build", "no")

    with pytest.raises(Unavailable):
        made(tmp_path / "it", fail)
    with pytest.raises(Unavailable, match="make cluster-build"):
        find(tmp_path / "it", "thing")
    assert made(tmp_path / "it", lambda partial: (partial / "whole").touch())
    assert [path.name for path in (tmp_path / "it").iterdir()] == ["whole"]


def test_without_go_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_no_go() == "There is no `go`. Install Go 1.26.6 or newer, so that `go` is in PATH."


@pytest.mark.parametrize(
    ("version", "is_enough"), [("go1.19.8", False), ("go1.26.5", False), ("go1.26.6", True), ("go1.27rc1", True)]
)
def test_a_go_that_is_too_old_is_named(
    version: str, is_enough: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho {version}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = why_no_go()
    assert (reason is None) is is_enough
    assert reason is None or reason.startswith(f"{go} is {version}, which is too old. Install Go 1.26.6")


def test_programs_say_the_version_that_is_pinned() -> None:
    pinned = {
        program.name: dict(re.findall(r"^\t(\S+) v(\S+)", _module(program.name), re.MULTILINE)) for program in PROGRAMS
    }
    said = {program.name: program.link for program in PROGRAMS}
    kubernetes = pinned["kubernetes"]["k8s.io/kubernetes"]
    major, minor, _ = kubernetes.split(".")
    values = [link.partition("=")[2] for link in said["kubernetes"]]
    assert values == [f"v{kubernetes}", major, minor]
    assert said["runc"] == (f"main.version={pinned['runc']['github.com/opencontainers/runc']}",)


def test_names_follow_the_definitions() -> None:
    assert re.fullmatch(r"programs-[0-9a-f]{16}", programs_dir().name)
    assert len({image(name).reference for name in NAMES}) == len(NAMES)
    assert image("probe").reference.endswith(image("probe").archive.parent.name.rpartition("-")[2])


def _module(name: str) -> str:
    return (HERE / "programs" / name / "go.mod").read_text(encoding="utf-8")
