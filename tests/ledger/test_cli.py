"""`tre ledger`: reads and verifies what lies on this machine, and writes nothing into it."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.ledger.conftest import RunVerifier, fill
from tests.ledger.test_checkpoints import unguard
from tre_orchestrator.cli.ledger import app
from tre_orchestrator.errors import TreError
from tre_orchestrator.ledger.append import erase_body, person
from tre_orchestrator.ledger.checkpoints import make_checkpoint
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.keys import load_or_create_signer


@pytest.fixture
def here(state_dir: Path, now: dt.datetime) -> Path:
    """A state folder with 8 entries, 6 of them signed, and one erased text."""
    db = Database(f"sqlite:///{state_dir / 'tre.sqlite'}")
    Base.metadata.create_all(db.engine)
    signer = load_or_create_signer(state_dir / "keys")
    fill(db, 5)
    with db.write() as session:
        erase_body(session, 1, person("anna"), "asked for it", now)
    with db.write() as session:
        make_checkpoint(session, signer, now)
    fill(db, 2, 6)
    db.dispose()
    return state_dir


def run(here: Path, *arguments: str | Path) -> Result:
    """The command's result; a `TreError` is raised, as `tre` itself would print it."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--state", str(here)], catch_exceptions=True)
    if isinstance(result.exception, TreError):
        raise result.exception
    return result


def answer(here: Path, *arguments: str | Path) -> object:
    result = run(here, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_show_lists_the_newest_entries_and_filters(here: Path) -> None:
    seen = answer(here, "show")
    assert isinstance(seen, list)
    assert [entry["seq"] for entry in seen] == list(range(1, 9))
    assert (seen[0]["erased"], seen[0]["body"]) == (True, None)
    assert seen[3]["body"] == {"conditions": "as agreed"}
    erased = answer(here, "show", "--kind", "body.erased", "--subject", "dataset/heart-0")
    assert isinstance(erased, list)
    assert [entry["facts"] for entry in erased] == [{"seq": 1}]
    assert [entry["seq"] for entry in answer(here, "show", "--limit", "2")] == [7, 8]  # type: ignore[attr-defined]
    text = run(here, "show").output
    assert "text erased" in text
    assert "as agreed" in text
    assert "No entry matches" in run(here, "show", "--kind", "no.such").output


def test_export_is_verified_by_an_outsider_with_the_printed_key(
    here: Path, tmp_path: Path, outsider: RunVerifier
) -> None:
    file, key, kept = tmp_path / "export.jsonl", tmp_path / "key", tmp_path / "kept"
    assert "6 entries written" in run(here, "export", file).output
    kept.write_text(run(here, "checkpoint").output)
    for form in ((), ("--line",)):
        key.write_text(run(here, "key", *form).output)
        said = outsider("ledger", file, "--key", key, "--since", kept)
        assert said.code == 0, said.error
    assert b"as agreed" not in file.read_bytes()
    assert run(here, "verify", file, "--since", kept).exit_code == 0
    assert answer(here, "verify", file, "--key", key)["entries"] == 6  # type: ignore[index]
    with pytest.raises(TreError, match="exists"):
        run(here, "export", file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.jsonl", "kept", "key", "outsider"]


def test_export_with_texts_says_so_and_leaves_erased_ones_out(here: Path, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    assert answer(here, "export", file, "--bodies") == {"file": str(file), "entries": 6, "not_yet_signed": 2}
    assert answer(here, "verify", file)["bodies"] == 2  # type: ignore[index]


def test_verify_checks_the_database(here: Path, tmp_path: Path) -> None:
    said = answer(here, "verify")
    assert isinstance(said, dict)
    assert (said["verified"], said["entries"], said["signed"], said["erased"]) == (True, 8, 6, 1)
    kept = tmp_path / "kept"
    kept.write_text(run(here, "checkpoint", "--size", "6").output)
    assert "It continues your checkpoint over 6 entries" in run(here, "verify", "--since", kept).output


def test_R2_verify_fails_on_a_changed_database(here: Path) -> None:
    db = Database(f"sqlite:///{here / 'tre.sqlite'}")
    unguard(db)
    db.dispose()
    with sqlite3.connect(here / "tre.sqlite") as connection:
        connection.execute("UPDATE ledger_entries SET subject = 'other' WHERE seq = 2")
    result = run(here, "verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["verified"] is False
    with pytest.raises(TreError, match="NOT VERIFIED: Entry 2 is filed under"):
        run(here, "verify")


def test_reading_changes_nothing(here: Path, tmp_path: Path) -> None:
    def dump() -> list[str]:
        with sqlite3.connect(here / "tre.sqlite") as connection:
            return list(connection.iterdump())

    before = dump()
    for arguments in (["show"], ["verify"], ["checkpoint"], ["key"], ["export", str(tmp_path / "x")]):
        assert run(here, *arguments).exit_code == 0
    assert dump() == before


def test_a_folder_without_ledger_is_said_and_nothing_is_created(state_dir: Path) -> None:
    load_or_create_signer(state_dir / "keys")
    for arguments in (["show"], ["verify"], ["checkpoint"], ["export", str(state_dir / "x")]):
        with pytest.raises(TreError, match="no ledger in"):
            run(state_dir, *arguments)
    assert not (state_dir / "tre.sqlite").exists()
    assert not (state_dir / "x").exists()


def test_before_the_first_checkpoint_there_is_nothing_to_give_out(state_dir: Path) -> None:
    db = Database(f"sqlite:///{state_dir / 'tre.sqlite'}")
    Base.metadata.create_all(db.engine)
    db.dispose()
    for arguments in (["checkpoint"], ["export", str(state_dir / "x")]):
        with pytest.raises(TreError, match="No checkpoint was made yet"):
            run(state_dir, *arguments)
    assert sorted(os.listdir(state_dir))[-1] != "x"


def test_unreadable_files_are_said(here: Path, tmp_path: Path) -> None:
    with pytest.raises(TreError, match="cannot be read"):
        run(here, "verify", tmp_path / "absent")
    with pytest.raises(TreError, match="could not be written"):
        run(here, "export", tmp_path / "no" / "folder" / "x")
