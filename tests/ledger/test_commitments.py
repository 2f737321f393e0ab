"""A5: a commitment tells nothing before it is opened, and opens to one value only."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.canonical import canonical
from tre_orchestrator.ledger.checkpoints import make_checkpoint
from tre_orchestrator.ledger.commitments import commit, opens
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.export import export_lines
from tre_orchestrator.ledger.keys import load_or_create_signer

VOTES = ({"vote": "approve"}, {"vote": "reject"}, {"vote": "changes"})
values = st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers(0, 9), max_size=3)


@given(values, values)
def test_a_commitment_opens_to_its_value_and_no_other(value: dict[str, str | int], other: dict[str, str | int]) -> None:
    made = commit(value)
    assert opens(made.digest, made.salt, value)
    assert opens(made.digest, made.salt, other) == (other == value)
    assert not opens(made.digest, commit(value).salt, value)


def test_a_salt_of_another_length_or_form_opens_nothing() -> None:
    made = commit({"vote": "approve"})
    for salt in ("", "zz", made.salt[:-2], made.salt + "00"):
        assert not opens(made.digest, salt, {"vote": "approve"})
    body = canonical({"vote": "approve"})
    shifted = hashlib.sha256(bytes.fromhex(made.salt) + body[:1] + body[1:]).hexdigest()
    assert shifted == made.digest
    assert not opens(made.digest, made.salt + body[:1].hex(), {"vote": "approve"})


def test_A5_an_export_in_the_blind_phase_tells_nothing_of_the_votes(
    db: Database, state_dir: Path, now: dt.datetime
) -> None:
    """Equal votes look different, no guess without the salt matches, and lengths are the same for every vote."""
    signer = load_or_create_signer(state_dir / "keys")
    kept = []
    for number, vote in enumerate((*VOTES, *VOTES)):
        with db.write() as session:
            made = commit(vote)
            kept.append((vote, made))
            facts = {"commitment": made.digest, "file": "a.csv"}
            append(session, "vote.cast", person(f"checker-{number}"), "request/heart/1", facts, now=now)
    with db.write() as session:
        checkpoint = make_checkpoint(session, signer, now)
    with db.read() as session:
        lines = list(export_lines(session, checkpoint, bodies=True))
    raw = b"".join(lines)
    assert len({made.digest for _, made in kept}) == len(kept)
    assert len({len(line) for line in lines[1:-1]}) == 1
    for word in (b"approve", b"reject", b"changes"):
        assert word not in raw
    for vote, made in kept:
        assert made.salt.encode() not in raw
        assert opens(made.digest, made.salt, vote)
        for guess in VOTES:
            assert hashlib.sha256(canonical(guess)).hexdigest() != made.digest
            assert not opens(made.digest, "00" * 32, guess)
