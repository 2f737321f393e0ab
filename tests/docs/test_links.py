"""What the documentation points at exists: pages, headings, pictures, commands, options, tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from tre_orchestrator.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TESTS = {name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    broken = []
    for _, target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.is_file() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    decisions = (DOCS / "decisions/index.md").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert name in listed or f"]({page.name})" in decisions, name
    assert listed - {"benchmarks.md"} <= {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_every_picture_is_used_and_made_by_the_story() -> None:
    story = (ROOT / "tests/e2e/test_story.py").read_text(encoding="utf-8")
    made = set(re.findall(r'picture\(\w+, "([\w-]+)"', story))
    used = {
        Path(target).stem
        for page in PAGES
        for mark, target in LINK.findall(prose(page))
        if mark and "images/" in target
    }
    assert used == made


def said_commands(page: Path) -> Iterator[str]:
    """Every `tre …` in code, on a line of its own or in running text."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line for _, language, block in FENCE.findall(text) if language in ("", "bash") for line in block.splitlines()
    ]
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCE.sub("", text))]
    for line in lines:
        found = re.fullmatch(r"\s*(?:\S*/)?(tre(?: .*)?)", line)
        if found:
            yield found[1]


def why_no_command(said: str) -> str | None:
    """What of a command line does not exist, or None."""
    try:
        words = shlex.split(said)[1:]
    except ValueError:
        return "it cannot be split into words"
    command = get_command(app)
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        word = words.pop(0)
        if word in ("COMMAND", "…"):
            return None
        if word not in command.commands:
            return f"there is no command {word}"
        command = command.commands[word]
    known = {option for one in command.params for option in one.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"there is no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_exists(page: Path) -> None:
    reasons = {said: why_no_command(said) for said in said_commands(page)}
    assert {said: reason for said, reason in reasons.items() if reason} == {}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert why_no_command("tre ledger forget") == "there is no command forget"
    assert why_no_command("tre up --public") == "there is no option --public"
    assert why_no_command("tre ledger verify --since kept.txt") is None
    assert sum(len(list(said_commands(page))) for page in PAGES) > 60


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_is_named_exists(page: Path) -> None:
    assert [name for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")) if name not in TESTS] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_and_file_of_the_repository_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name for name in re.findall(r"`make ([a-z-]+)`", text) if name not in targets} == set()
    paths = re.findall(r"`((?:tre_orchestrator|tests|docs|workspace_images)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
