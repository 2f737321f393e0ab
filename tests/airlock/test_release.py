"""A7: a bundle is for its author, for a time, on the record; revoking ends it and says what was fetched. The bundle."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate
from typer.testing import CliRunner

from tests.airlock.build import BEN, CHLOE, CLEAN, CONTEXT, DAN, FORM, MIA, Airlock
from tests.governance.build import ANA, ERIN, World, person
from tre_orchestrator.airlock.release import open_release, revoke
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.cli.bundle import app
from tre_orchestrator.errors import NotFound, Refused, Stale, TreError
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ledger.tre_verify import NotVerified, verify_bundle


def fetch(air: Airlock, request: RequestView, to: Path, who: str = ANA) -> Path:
    opened = open_release(air.db, air.store, "heart", request.id, who, air.now)
    path = to / opened.name
    path.write_bytes(b"".join(opened.chunks))
    assert path.stat().st_size == opened.size
    return path


def verify(air: Airlock, path: Path) -> Any:
    return verify_bundle(path, load_or_create_signer(air.settings.keys_dir).key)


def test_A7_only_the_author_fetches_and_every_fetch_is_on_record(air: Airlock, tmp_path: Path) -> None:
    request = air.released()
    for who in (BEN, MIA, CHLOE, ERIN):
        with pytest.raises(Refused):
            fetch(air, request, tmp_path, who)
    with pytest.raises(NotFound):
        fetch(air, request, tmp_path, "nobody")
    for _ in range(2):
        fetch(air, request, tmp_path)
    with air.db.read() as session:
        fetched = entries(session, kind="release.fetched")
    assert [(entry.actor.id, entry.facts["fetch"]) for entry in fetched] == [(ANA, 1), (ANA, 2)]
    release = air.view(request).release
    assert release is not None
    assert [who for who, _ in release.downloads] == [ANA, ANA]


def test_A7_a_bundle_expires_even_before_the_state_says_so(air: Airlock, tmp_path: Path) -> None:
    request = air.released()
    late = air.at(days=30, seconds=1)
    with pytest.raises(Refused) as refused:
        fetch(late, request, tmp_path)
    assert refused.value.code == "expired"
    late.advance()
    assert late.view(request).state is State.expired


def test_P1_an_author_who_is_no_longer_valid_fetches_nothing(air: Airlock, tmp_path: Path) -> None:
    request = air.released()
    World(air.db, air.settings, air.now).apply(person(ANA, "analyst", active=False))
    with pytest.raises(Refused) as refused:
        fetch(air, request, tmp_path)
    assert refused.value.code == "person-inactive"


@pytest.mark.parametrize("who", [CHLOE, ERIN])
def test_A7_revoking_ends_it_and_says_what_was_fetched(air: Airlock, tmp_path: Path, who: str) -> None:
    request = air.released()
    fetch(air, request, tmp_path)
    seen = air.act(revoke, request, who, "A small count slipped through")
    assert seen.state is State.revoked
    assert seen.release is not None
    assert len(seen.release.downloads) == 1
    with pytest.raises(Refused) as refused:
        fetch(air, request, tmp_path)
    assert "small count slipped" in refused.value.sentence
    with air.db.read() as session:
        entry = entries(session, kind="release.revoked")[0]
    assert (entry.actor.id, entry.facts["fetched"]) == (who, 1)


def test_a_revocation_needs_a_reason_and_the_current_version(air: Airlock) -> None:
    request = air.released()
    with pytest.raises(Refused, match="Say why"):
        air.act(revoke, request, CHLOE, "  ")
    with pytest.raises(Stale):
        air.act(revoke, request, CHLOE, "Old view", version=1)


def test_a_revocation_before_the_release_stops_it(air: Airlock) -> None:
    request = air.approved()
    air.act(revoke, request, CHLOE, "Second thoughts")
    air.advance()
    assert air.view(request).state is State.revoked


def test_the_bundle_holds_the_approved_files_and_no_supporting_one(air: Airlock, tmp_path: Path) -> None:
    supporting = {"counts.csv": CONTEXT.model_copy(update={"supporting": True})}
    form = FORM.model_copy(update={"files": supporting})
    files = {"a.csv": CLEAN, "naïve résumé/b c.csv": CLEAN, "counts.csv": b"sex,n\nf,3\n"}
    request = air.released(files, form)
    path = fetch(air, request, tmp_path)
    with zipfile.ZipFile(path) as packed:
        assert set(packed.namelist()) == {
            "files/a.csv", "files/naïve résumé/b c.csv", "ro-crate-metadata.json", "attestation.dsse.json",
            "ledger-proof.json",
        }  # fmt: skip
        assert packed.read("files/a.csv") == CLEAN
        assert packed.testzip() is None
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in packed.infolist())
    verdict = verify(air, path)
    assert verdict.files == 2
    assert verdict.predicate["approvals"] == {"required": 2, "given": 2}
    assert verdict.predicate["datasets"][0]["name"] == "lungs"
    assert verdict.predicate["requestedBy"] == ANA


def test_the_bundle_names_no_reviewer(air: Airlock, tmp_path: Path) -> None:
    path = fetch(air, air.released(), tmp_path)
    with zipfile.ZipFile(path) as packed:
        everything = b"".join(packed.read(name) for name in packed.namelist())
        envelope = json.loads(packed.read("attestation.dsse.json"))
        proof = json.loads(packed.read("ledger-proof.json"))
    everything += base64.b64decode(envelope["payload"]) + base64.b64decode(proof["entry"])
    for reviewer in (CHLOE, DAN):
        assert reviewer.encode() not in everything


def test_the_metadata_is_an_ro_crate_that_others_can_read(air: Airlock, tmp_path: Path) -> None:
    path = fetch(air, air.released({"a.csv": CLEAN, "b c.csv": CLEAN}), tmp_path)
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path / "crate")
    crate = ROCrate(tmp_path / "crate")
    assert crate.root_dataset["name"] == "Counts by sex"
    assert crate.root_dataset["conformsTo"]["@id"] == "https://w3id.org/5s-crate/0.4"
    assert {part.id for part in crate.root_dataset["hasPart"]} == {"files/a.csv", "files/b%20c.csv"}
    assert {action["actionStatus"] for action in crate.root_dataset["mentions"]} == {
        "http://schema.org/CompletedActionStatus"
    }


def test_a_changed_bundle_is_not_verified(air: Airlock, tmp_path: Path) -> None:
    path = fetch(air, air.released(), tmp_path)
    verify(air, path)
    data = path.read_bytes()
    broken = tmp_path / "broken.zip"
    for place in range(0, len(data), 97):
        broken.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(NotVerified):
            verify(air, broken)


def test_the_same_approval_gives_the_same_bytes(air: Airlock) -> None:
    from tre_orchestrator.airlock.release import pack

    request = air.approved()
    signer = load_or_create_signer(air.settings.keys_dir)
    first, second = (pack(air.db, air.store, signer, "heart", request.id, air.now) for _ in range(2))
    assert first == second


def test_the_command_verifies_a_bundle_with_a_key_file_alone(air: Airlock, tmp_path: Path) -> None:
    path = fetch(air, air.released(), tmp_path)
    key = tmp_path / "key.pem"
    key.write_text(load_or_create_signer(air.settings.keys_dir).public_pem)
    good = CliRunner().invoke(app, ["verify", str(path), "--key", str(key), "--json"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.output)["release"]["project"] == "heart"
    path.write_bytes(path.read_bytes()[:-1])
    bad = CliRunner().invoke(app, ["verify", str(path), "--key", str(key)])
    assert isinstance(bad.exception, TreError)
    assert "NOT VERIFIED" in bad.exception.sentence
