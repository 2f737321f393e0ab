"""`tre_airlock`, as a notebook uses it, on folders of the test's own; and its form is one that the airlock reads."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tre_orchestrator.airlock.drafts import read_draft
from tre_orchestrator.airlock.forms import FileContext, Statistic
from tre_orchestrator.workspaces.environment import inside_dir


@pytest.fixture
def airlock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with its places in a temporary folder."""
    spec = importlib.util.spec_from_file_location("tre_airlock", inside_dir() / "lib/tre_airlock/__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    monkeypatch.setattr(module, "OUTPUTS", outputs)
    monkeypatch.setattr(module, "OUTCOMES", tmp_path / "requests.json")
    return module


@pytest.fixture
def figures(airlock: ModuleType) -> Path:
    folder: Path = airlock.OUTPUTS / "figures"
    (folder / "more").mkdir(parents=True)
    (folder / "ages.csv").write_text("age,n\n10,20\n")
    (folder / "more" / "b.csv").write_text("x\n")
    return folder


def test_it_needs_nothing_but_the_standard_library() -> None:
    source = (inside_dir() / "lib/tre_airlock/__init__.py").read_text()
    imported = [line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert set(imported) <= sys.stdlib_module_names


def test_a_form_is_written_and_says_what_comes_next(
    airlock: ModuleType, figures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = airlock.submit(figures, "Age\nbands", {"ages.csv": "Patients per age"}, context="Table 1")
    said = capsys.readouterr().out
    assert "2 file(s), 14 bytes" in said
    assert "Say what these show, or a checker will ask: more/b.csv" in said
    assert "portal" in said
    form = read_draft(Path(path).read_bytes(), "figures")
    assert form.title == "Age bands"
    assert form.purpose == "Table 1\nages.csv: Patients per age"


def test_the_forms_own_fields_reach_it(airlock: ModuleType, figures: Path) -> None:
    told = {"statistic": "frequencies", "population": "Adults", "n": 30, "variables": ["age"], "controls": "rounded"}
    path = airlock.submit(figures, "Ages", {"ages.csv": told})
    form = read_draft(Path(path).read_bytes(), "figures")
    assert form.files["ages.csv"] == FileContext(
        statistic=Statistic.frequencies, population="Adults", n=30, variables=("age",), controls="rounded"
    )
    assert set(FileContext.model_fields) == airlock.FIELDS


def test_the_written_form_is_not_one_of_the_files(airlock: ModuleType, figures: Path) -> None:
    airlock.submit(figures, "Ages")
    airlock.submit(figures, "Ages again")
    assert json.loads((figures / airlock.FORM).read_text())["title"] == "Ages again"


@pytest.mark.parametrize(
    ("title", "files", "words"),
    [
        ("", {}, "A title has"),
        ("x" * 201, {}, "A title has"),
        ("T", {"none.csv": "x"}, "has no file none.csv"),
        ("T", {"ages.csv": "x" * 4001}, "at most 4000"),
        ("T", {"ages.csv": {"colour": "red"}}, "there is no field colour"),
        ("T", {"ages.csv": {"population": "x" * 70_000}}, "64 KiB"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    airlock: ModuleType, figures: Path, title: str, files: dict[str, object], words: str
) -> None:
    with pytest.raises(airlock.AirlockError, match=words):
        airlock.submit(figures, title, files)
    assert not (figures / airlock.FORM).exists()


def test_only_folders_below_outputs_can_be_submitted(airlock: ModuleType, figures: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (airlock.OUTPUTS / "link").symlink_to(tmp_path / "home")
    for folder in (tmp_path / "home", airlock.OUTPUTS / ".." / "home", airlock.OUTPUTS / "link"):
        with pytest.raises(airlock.AirlockError, match="not below /outputs"):
            airlock.submit(folder, "T")
    with pytest.raises(airlock.AirlockError, match="Name the folder"):
        airlock.submit(figures / "ages.csv", "T")
    with pytest.raises(airlock.AirlockError, match="no files yet"):
        airlock.submit(_empty(airlock), "T")


def test_the_folders_name_may_be_written_as_the_file_browser_shows_it(
    airlock: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airlock, "OUTPUTS", Path("/outputs"))
    for written in ("outputs/none", "/outputs/none", "./outputs/none"):
        with pytest.raises(airlock.AirlockError, match="/outputs/none is not a folder"):
            airlock.submit(written, "T")


def test_status_shows_the_outcomes(airlock: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert airlock.status() == []
    assert "No requests yet" in capsys.readouterr().out
    airlock.OUTCOMES.write_text('{"requests": [{"number": 7, "state": "In review", "title": "Ages"}]}')
    assert airlock.status()[0]["number"] == 7
    assert "In review" in capsys.readouterr().out


def _empty(airlock: ModuleType) -> Path:
    folder: Path = airlock.OUTPUTS / "empty"
    folder.mkdir()
    return folder


class _Integer:
    """A whole number of another library, as numpy has them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    __hash__ = None  # type: ignore[assignment]


def test_a_number_of_another_library_is_taken(airlock: ModuleType, figures: Path) -> None:
    path = airlock.submit(figures, "Ages", {"ages.csv": {"n": _Integer(1240)}})
    assert read_draft(Path(path).read_bytes(), "figures").context("ages.csv").n == 1240


@pytest.mark.parametrize("n", ["many", 12.5, True, float("inf")])
def test_what_is_no_whole_number_is_refused_in_words(airlock: ModuleType, figures: Path, n: object) -> None:
    with pytest.raises(airlock.AirlockError, match="n is a whole number"):
        airlock.submit(figures, "Ages", {"ages.csv": {"n": n}})
