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
from tests.ledger.test_checkpoints import Witness, unguard
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


def refused(here: Path, *arguments: str | Path) -> str:
    """The sentence with which the command refuses."""
    with pytest.raises(TreError) as error:
        run(here, *arguments)
    return error.value.sentence


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


def test_R2_an_outsider_with_a_kept_checkpoint_shows_a_restored_backup(
    here: Path, tmp_path: Path, outsider: RunVerifier, now: dt.datetime
) -> None:
    """The operator restores an older copy of the whole database and goes on; every signature is genuine."""
    database, key, file = here / "tre.sqlite", tmp_path / "key", tmp_path / "export.jsonl"
    key.write_text(run(here, "key").output)
    with sqlite3.connect(database) as source, sqlite3.connect(tmp_path / "backup") as copy:
        source.backup(copy)
    grown = Database(f"sqlite:///{database}")
    fill(grown, 4, 8)
    signer = load_or_create_signer(here / "keys")
    with grown.write() as session:
        make_checkpoint(session, signer, now)
    grown.dispose()
    kept = tmp_path / "kept"
    kept.write_text(run(here, "checkpoint").output)
    assert "over 12 entries" in run(here, "verify", "--since", kept).output

    with sqlite3.connect(tmp_path / "backup") as copy, sqlite3.connect(database) as restored:
        copy.backup(restored)
    assert run(here, "verify").exit_code == 0
    run(here, "export", file)
    assert outsider("ledger", file, "--key", key).code == 0
    for said in (
        outsider("ledger", file, "--key", key, "--since", kept).error,
        refused(here, "verify", "--since", kept),
    ):
        assert "Your checkpoint of 2026-11-23T09:00:00.000000Z covers 12 entries" in said
        assert "rolled back" in said

    restored_db = Database(f"sqlite:///{database}")
    fill(restored_db, 9, 100)
    with restored_db.write() as session:
        make_checkpoint(session, signer, now + dt.timedelta(days=1))
    restored_db.dispose()
    again = tmp_path / "again.jsonl"
    run(here, "export", again)
    outside = outsider("ledger", again, "--key", key, "--since", kept)
    assert (outside.code, "history was rewritten" in outside.error) == (1, True)
    assert "history was rewritten" in refused(here, "verify", again, "--since", kept)


def test_a_witness_signature_is_kept_and_asked_for(
    here: Path, tmp_path: Path, outsider: RunVerifier, now: dt.datetime
) -> None:
    witness, other = Witness("witness.example.org"), Witness("other.example.org")
    note, key, file = run(here, "checkpoint").output, tmp_path / "key", tmp_path / "export.jsonl"
    key.write_text(run(here, "key").output)
    line, whole = tmp_path / "line", tmp_path / "whole"
    line.write_text(witness.cosign(note))
    whole.write_text(note + other.cosign(note))
    said = run(here, "cosign", line, "--witness", witness.key).output
    assert said == "'witness.example.org' signed the checkpoint over 6 entries. It is kept, and goes out with it.\n"
    assert answer(here, "cosign", whole, "--witness", other.key, "--size", 6)["size"] == 6  # type: ignore[index]
    assert run(here, "cosign", whole, "--witness", other.key).exit_code == 0, "a second time changes nothing"
    assert run(here, "checkpoint").output.count("\u2014 ") == 3
    run(here, "export", file)
    both = ("--witness", witness.key, "--witness", other.key)
    assert outsider("ledger", file, "--key", key, *both).code == 0
    assert "Seen and signed by: witness.example.org, other.example.org." in run(here, "verify", file, *both).output
    assert run(here, "verify").exit_code == 0
    absent = Witness("absent.example.org")
    assert "did not sign" in refused(here, "verify", file, "--witness", absent.key)


def test_what_is_no_witness_signature_is_not_kept(here: Path, tmp_path: Path) -> None:
    witness = Witness("witness.example.org")
    note, line = run(here, "checkpoint").output, tmp_path / "line"
    for text, size, sentence in (
        (witness.cosign(note.replace("tre-ledger", "other-ledger")), None, "did not sign this checkpoint"),
        (Witness("witness.example.org").cosign(note), None, "did not sign this checkpoint"),
        (witness.cosign(note), "5", "No checkpoint was made at 5 entries"),
        (note, None, "no signature line of 'witness.example.org'"),
        ("", None, "no signature line"),
    ):
        line.write_text(text)
        assert sentence in refused(here, "cosign", line, "--witness", witness.key, *(("--size", size) if size else ()))
    line.write_text(witness.cosign(note))
    assert "no signature line" in refused(here, "cosign", line, "--witness", "nonsense")
    assert "cannot be read" in refused(here, "cosign", tmp_path / "absent", "--witness", witness.key)
    assert run(here, "checkpoint").output == note


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
