"""The commands, through their real client, against a server that applies the real rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner, Result

from tests.governance.api import TOKEN, Api, serving
from tests.governance.build import World, dataset, everybody, profile, project
from tre_orchestrator.catalogue.models import explicit_fields
from tre_orchestrator.catalogue.read import parse_documents
from tre_orchestrator.cli import catalogue, governance
from tre_orchestrator.errors import Refusal, Refused, TreError
from tre_orchestrator.governance import apply as applying
from tre_orchestrator.ledger.append import person as person_actor
from tre_orchestrator.web.api.plain import reply


@pytest.fixture
def tre(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typer:
    monkeypatch.setenv("TRE_STATE_DIR", str(tmp_path / "absent"))
    app = Typer()
    catalogue.add_to(app)
    governance.add_to(app)
    return app


@pytest.fixture
def api(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    def answer(_method: str, path: str, body: Any) -> Any:
        if path == "/api/catalogue":
            with world.db.write() as session:
                applied = applying.apply(session, parse_documents(body), person_actor("olu"), world.now)
            return {"created": applied.created, "changed": applied.changed, "unchanged": applied.unchanged}
        if path.startswith("/api/projects/heart/decision"):
            return {**json.loads(reply(world.decide()).body), "controls": world.seen().controls}
        if path == "/api/projects/liver/decision":
            with world.db.read() as session:
                applying.load_project(session, "liver")
        if path.endswith("/grants"):
            return {"id": "g1"}
        if path == "/api/grants/none/revocation":
            raise Refused([Refusal("grant-ended", "This grant has ended already."), Refusal("x", "Second reason.")])
        return {}

    with serving(answer) as served:
        monkeypatch.delenv("TEST_POSTGRES_URL", raising=False)  # ours, and no setting of a TRE
        monkeypatch.setenv("TRE_LISTEN_PORT", str(served.port))
        monkeypatch.setenv("TRE_STATE_DIR", str(world.settings.state_dir))
        monkeypatch.setenv("TRE_DATABASE_URL", world.db.engine.url.render_as_string(hide_password=False))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        (tmp_path / "config" / "tre").mkdir(parents=True)
        (tmp_path / "config" / "tre" / "token").write_text(TOKEN)
        yield served


def run(tre: Typer, *words: str) -> Result:
    return CliRunner().invoke(tre, list(words))


def written(folder: Path, *objects: Any) -> Path:
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump_all([explicit_fields(one) for one in objects], sort_keys=False))
    return path


def test_validate_says_what_was_found(tre: Typer, tmp_path: Path) -> None:
    result = run(tre, "validate", str(written(tmp_path, *everybody(), profile(), dataset(), project())))
    assert result.exit_code == 0
    assert "1 × Dataset, 7 × Person, 1 × PolicyProfile, 1 × Project, no errors." in result.output


def test_validate_prints_every_error_with_its_place(tre: Typer, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("kind: Project\ncolour: red\n")
    result = run(tre, "validate", str(path))
    assert result.exit_code == 1
    assert f"{path}:2: colour: is not known here; check the spelling" in result.output
    assert "4 errors; nothing was applied." in result.output


def test_validate_finds_what_does_not_fit_together(tre: Typer, tmp_path: Path) -> None:
    broken = project(members=[{"person": "ana-silva"}, {"person": "zoe"}], datasets=[{"name": "nix", "version": "1.0"}])
    path = written(tmp_path, *everybody(), profile(), dataset(), broken)
    result = run(tre, "validate", str(path))
    assert result.exit_code == 1
    lines = [number for number, text in enumerate(path.read_text().splitlines(), 1) if "zoe" in text]
    assert f"{path}:{lines[-1]}: spec.members[1].person: there is no person 'zoe'" in result.output
    assert "spec.datasets[0]" in result.output


def test_validate_and_apply_find_the_same_in_a_change_of_the_catalogue(tre: Typer, api: Api, tmp_path: Path) -> None:
    fits = written(tmp_path, project("liver"))
    result = run(tre, "validate", str(fits))
    assert (result.exit_code, "Checked with the catalogue of this TRE." in result.output) == (0, True), result.output
    broken = written(tmp_path, project("liver", members=[{"person": "zoe"}]), dataset(**{"1.0": "data/elsewhere"}))
    said = [run(tre, command, str(broken)) for command in ("validate", "apply")]
    assert [result.exit_code for result in said] == [1, 1]
    assert said[0].output == said[1].output
    assert said[0].output.count("\n") >= 3


def test_schema_prints_json_schema(tre: Typer) -> None:
    assert json.loads(run(tre, "schema", "Dataset").output)["title"] == "Dataset"
    assert "oneOf" in json.loads(run(tre, "schema").output)
    assert isinstance(run(tre, "schema", "Banana").exception, TreError)


def test_apply_sends_the_fields_that_were_set_with_the_persons_token(tre: Typer, api: Api, tmp_path: Path) -> None:
    result = run(tre, "apply", str(written(tmp_path, project(title="Other"), project("liver"))))
    assert result.exit_code == 0, result.output
    assert "created   Project/liver" in result.output
    assert "changed   Project/heart" in result.output
    ((method, path, body),) = api.asked
    assert (method, path) == ("POST", "/api/catalogue")
    assert body == [explicit_fields(project(title="Other")), explicit_fields(project("liver"))]
    assert api.tokens == {f"Bearer {TOKEN}"}


def test_apply_gives_the_servers_faults_the_place_in_the_file(tre: Typer, api: Api, tmp_path: Path) -> None:
    broken = project("liver", members=[{"person": "ana-silva"}, {"person": "zoe"}])
    path = written(tmp_path, project(), broken)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "zoe" in text)
    result = run(tre, "apply", str(path))
    assert result.exit_code == 1
    assert f"{path}:{line}: spec.members[1].person: there is no person 'zoe'" in result.output


def test_decide_prints_every_reason_and_fails(tre: Typer, api: Api, world: World) -> None:
    result = run(tre, "decide", "heart")
    assert result.exit_code == 0
    assert "Allowed until" in result.output
    world.apply(project(title="Other", end="2026-11-01"))
    result = run(tre, "decide", "heart", "ana-silva")
    assert result.exit_code == 1
    assert "[project-ended]" in result.output
    assert "Changed: end, title." in result.output
    assert api.asked[-1][1] == "/api/projects/heart/decision?person=ana-silva"
    shown = json.loads(run(tre, "decide", "heart", "--json").output)
    assert (shown["digest"], shown["controls"]) == (world.seen().project, world.seen().controls)


def test_a_problem_of_the_api_is_the_commands_error(tre: Typer, api: Api) -> None:
    result = run(tre, "decide", "liver")
    assert isinstance(result.exception, TreError)
    assert "There is no project 'liver'" in result.exception.sentence
    result = run(tre, "revoke", "none", "--reason", "x")
    assert isinstance(result.exception, Refused)
    assert result.exception.sentence == "This grant has ended already. Second reason."


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (
            ["approve", "heart", "--digest", "ab", "--controls", "cd"],
            "/api/projects/heart/approvals",
            {"role": "approver", "digest": "ab", "controls": "cd"},
        ),
        (
            ["refuse", "heart", "--digest", "ab", "--controls", "cd", "--role", "ops", "--reason", "too broad"],
            "/api/projects/heart/refusals",
            {"role": "ops", "digest": "ab", "controls": "cd", "reason": "too broad"},
        ),
        (
            ["grant", "lungs", "1.0", "heart", "--digest", "ab", "--organisation", "trust", "--until", "2027-06-30"],
            "/api/datasets/lungs/grants",
            {
                "version": "1.0",
                "project": "heart",
                "digest": "ab",
                "organisation": "trust",
                "until": "2027-06-30",
                "grace_seconds": 0,
                "conditions": "",
            },
        ),
        (["revoke", "g/1", "--reason", "x"], "/api/grants/g%2F1/revocation", {"reason": "x"}),
        (["copies", "h1", "delete"], "/api/copies/h1/decision", {"decision": "delete"}),
    ],
)
def test_decisions_go_to_the_api(tre: Typer, api: Api, words: list[str], path: str, body: dict[str, Any]) -> None:
    assert run(tre, *words).exit_code == 0
    assert api.asked == [("POST", path, body)]


def test_a_day_that_is_none_is_refused_before_anything_is_sent(tre: Typer, api: Api) -> None:
    words = ["grant", "lungs", "1.0", "heart", "--digest", "ab", "--organisation", "trust", "--until", "30/06/2027"]
    result = run(tre, *words)
    assert isinstance(result.exception, TreError)
    assert "Write it as 2027-03-31" in result.exception.sentence
    assert api.asked == []


def test_p2_no_command_decides_without_the_api(tre: Typer, api: Api, tmp_path: Path, world: World) -> None:
    (tmp_path / "config" / "tre" / "token").unlink()
    before = world.decide()
    for words in (
        ["approve", "heart", "--digest", "ab", "--controls", "cd"],
        ["copies", "h", "delete"],
        ["revoke", "g", "--reason", "x"],
    ):
        result = run(tre, *words)
        assert isinstance(result.exception, Refused)
        assert "not signed in" in result.exception.sentence
    assert api.asked == []
    assert world.decide() == before


def test_a_dataset_is_added_and_verified_at_the_machine(tre: Typer, api: Api, world: World) -> None:
    world.apply(dataset(**{"1.0": "data/lungs/1.0", "2.0": "data/lungs/2.0"}))
    folder = world.settings.state_dir / "data/lungs/2.0"
    folder.mkdir()
    (folder / "a.csv").write_text("n\n")
    folder.chmod(0o755)
    result = run(tre, "dataset", "add", "lungs", "2.0")
    assert result.exit_code == 0, result.output
    assert "Recorded lungs 2.0: 1 files, 2 bytes" in result.output
    assert run(tre, "dataset", "verify", "lungs", "2.0").exit_code == 0
    (folder / "a.csv").write_text("m\n")
    result = run(tre, "dataset", "verify", "lungs", "2.0")
    assert result.exit_code == 1
    assert "lungs 2.0: a.csv has other content than was hashed." in result.output
    assert api.asked == [], "hashing is a fact about the machine, not a decision"
