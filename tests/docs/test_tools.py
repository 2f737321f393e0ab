"""The hooks before a commit run what `make lint` runs."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_hooks_call_the_tools_of_lint_in_the_virtual_environment() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local", "a hook from elsewhere would bring another version"
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    for hook in repository["hooks"]:
        program, _, rest = hook["entry"].partition(" ")
        folder, name = program.rsplit("/", 1)
        assert (hook["language"], folder) == ("system", ".venv/bin")
        assert f"$(BIN)/{name}" in lint
        if name == "ruff":
            assert f"$(BIN)/{name} {rest.split()[0]}" in lint
