"""Commands in sentences can be typed as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tre_orchestrator.cli.terminal import as_typed, console, program


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program `tre` in its virtual environment, and an empty PATH."""
    made = tmp_path / "my checkout" / ".venv" / "bin" / "tre"
    made.parent.mkdir(parents=True)
    made.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path / "my checkout")
    program.cache_clear()
    return made


def test_a_program_that_is_not_found_by_its_name_is_called_by_its_path(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for called in (".venv/bin/tre", str(checkout)):
        assert program(called) == ".venv/bin/tre"
    monkeypatch.chdir(tmp_path / "my checkout" / ".venv")
    program.cache_clear()
    assert program(str(checkout)) == "bin/tre"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    program.cache_clear()
    assert program(str(checkout)) == f"'{checkout}'"


def test_a_program_on_the_path_is_called_by_its_name(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout.parent))
    assert program(str(checkout)) == "tre"


def test_a_module_is_called_by_its_interpreter() -> None:
    assert program("/x/tre_orchestrator/cli/__main__.py").endswith(" -m tre_orchestrator.cli")


def test_sentences_name_it_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(checkout)])
    assert (
        as_typed("Run `tre up` or `tre`; `true` stays.") == "Run `.venv/bin/tre up` or `.venv/bin/tre`; `true` stays."
    )
    console.print("See `tre status`.")
    assert capsys.readouterr().out == "See `.venv/bin/tre status`.\n"
