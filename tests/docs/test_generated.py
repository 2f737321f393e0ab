"""Reference pages say what the code says: generated ones by comparison, hand-written examples by running them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tre_orchestrator.catalogue.read import read_path
from tre_orchestrator.ledger.tre_verify import NotVerified, leaf_hash, read_checkpoint, read_key, verify_export

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "tre_orchestrator"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language, as written."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_generated_pages_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_example_of_an_export_verifies_and_a_changed_one_does_not() -> None:
    entry, export = blocks("reference/formats.md", "json")
    checkpoint, key_line = blocks("reference/formats.md", "text")
    key = read_key(key_line)
    lines = [line.encode() for line in export.splitlines(keepends=True)]
    verdict = verify_export(iter(lines), key, read_checkpoint(checkpoint, key))
    assert (verdict.checkpoint.size, verdict.bodies) == (2, 1)
    assert entry in export
    assert leaf_hash(lines[1][:-1]).hex() in entry
    with pytest.raises(NotVerified):
        verify_export((line.replace(b"erin", b"ezra") for line in lines), key)


def _literals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _recorded_kinds() -> set[str]:
    """Every kind that code hands to `append` as a literal."""
    return {
        argument.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("append", "_append")
        for argument in node.args
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and re.fullmatch(r"[a-z-]+(\.[a-z-]+)+", argument.value)
    }


def test_the_formats_page_names_every_kind_of_entry() -> None:
    text = (DOCS / "reference/formats.md").read_text(encoding="utf-8")
    table = text.partition("## Kinds of entries")[2].partition("## Bundle")[0]
    named = set(re.findall(r"`([a-z-]+(?:\.[a-z-]+)+)`", table))
    said = {literal for path in PACKAGE.rglob("*.py") for literal in _literals(path)}
    made_of_two = {"project.declared", "project.changed"}
    assert {"declared", "changed"} <= said
    assert named - made_of_two <= said
    assert len(_recorded_kinds()) > 25
    assert _recorded_kinds() <= named


def test_the_guide_explains_every_line_of_the_doctor() -> None:
    found = {
        node.args[0].value
        for node in ast.walk(ast.parse((PACKAGE / "ops/doctor.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Finding"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(found) > 5
    guide = (DOCS / "how-to/operate.md").read_text(encoding="utf-8")
    assert [line for line in found if f"| {line} |" not in guide] == []


def test_the_architecture_page_names_the_layers_in_their_order() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    layers = [set(re.findall(r"tre_orchestrator\.(\w+)", layer)) for layer in contract["layers"]]
    page = (
        (DOCS / "explanation/architecture.md")
        .read_text(encoding="utf-8")
        .partition("## Layers")[2]
        .partition("\n## ")[0]
    )
    rows = [set(re.findall(r"`(\w+)`", line.split("|")[1])) for line in page.splitlines() if line.startswith("| `")]
    assert rows == [*layers[:-2], layers[-2] | layers[-1]]


def test_catalogue_examples_are_valid(tmp_path: Path) -> None:
    examples = [block for page in ("how-to/operate.md",) for block in blocks(page, "yaml") if "apiVersion" in block]
    assert examples
    for number, block in enumerate(examples):
        (tmp_path / f"{number}.yaml").write_text(block, encoding="utf-8")
    assert len(read_path(tmp_path)) == len(examples)


def test_settings_in_examples_exist() -> None:
    from tre_orchestrator.settings import Settings

    examples = [yaml.safe_load(block) for block in blocks("how-to/operate.md", "yaml") if "apiVersion" not in block]
    assert len(examples) > 1
    for example in examples:
        Settings(**example)
