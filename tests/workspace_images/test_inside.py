"""The layer at /opt/tre: what it does to a home folder, and the page's settings, by the environment's own Python."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.built import BUILT
from tre_orchestrator.workspaces.environment import inside_dir

ANYBODY = 12345 if os.geteuid() == 0 else os.geteuid()
PYTHON = BUILT / "bin/python"


def inside(code: str, uid: int | None = None, **variables: str) -> str:
    """What `code` prints in the layer's folder."""
    assert PYTHON.exists(), f"{PYTHON} does not exist: run `make env` first."
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables}
    command = [str(PYTHON), "-s", "-B", "-c", f"import sys; sys.path.insert(0, {str(inside_dir())!r})\n{code}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, user=uid).stdout


def prepare(home: Path) -> None:
    inside(f"import process; process.prepare_home({str(home)!r})")


def test_an_empty_home_gets_a_welcome_and_links_to_the_places_there_are(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".ipython").mkdir()
    prepare(tmp_path)
    assert (tmp_path / "README.md").read_text().startswith("# Welcome")
    for name in ("data", "outputs", "shared", "imports"):
        assert os.path.islink(tmp_path / name) == os.path.isdir(f"/{name}")


def test_what_an_analyst_made_of_the_home_stays(tmp_path: Path) -> None:
    (tmp_path / "work.ipynb").touch()
    (tmp_path / "data").write_text("mine")
    prepare(tmp_path)
    assert not (tmp_path / "README.md").exists()
    assert (tmp_path / "data").read_text() == "mine"


@pytest.mark.parametrize(("given", "off"), [("0", True), ("1", False), ("yes", True)])
def test_scripts_in_output_are_off_unless_the_tier_allows_them(given: str, off: bool) -> None:
    code = (
        "import json, server; print(json.dumps(server.page_config(None, {'token': 'x', 'disabledExtensions': ['a']})))"
    )
    config = json.loads(inside(code, TRE_SCRIPTS_IN_OUTPUT=given))
    assert config["token"] == ""
    assert ("@jupyterlab/javascript-extension" in config["disabledExtensions"]) == off
    assert "a" in config["disabledExtensions"]


def test_without_its_inner_token_the_server_does_not_start() -> None:
    done = subprocess.run(
        [str(PYTHON), "-s", "-B", str(inside_dir() / "nbmain.py")], env={}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "JUPYTER_TOKEN is missing" in done.stderr


def test_every_plugin_that_is_switched_off_exists_in_this_lab() -> None:
    config = json.loads((inside_dir() / "config/labconfig/page_config.json").read_text())
    static = "\n".join(
        path.read_text(errors="replace") for path in (PYTHON.parent.parent / "share/jupyter/lab/static").glob("*.js")
    )
    for name in config["disabledExtensions"]:
        assert name in static, f"{name} is not in this version of Lab: the switch does nothing"


def test_secrets_of_the_server_are_closed_to_processes_of_the_same_account() -> None:
    code = "import os, process; print(os.stat('/proc/self/environ').st_uid); process.hide_from_kernels(); "
    before, after = inside(code + "print(os.stat('/proc/self/environ').st_uid)", uid=ANYBODY).split()
    assert (before, after) == (str(ANYBODY), "0"), "proc(5): what is not dumpable belongs to root"
