"""The whole way of a request, from draft to a bundle that a stranger can verify."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.airlock.build import CHLOE, CLEAN, DAN, Airlock
from tests.governance.build import ANA
from tre_orchestrator.airlock.release import open_release
from tre_orchestrator.airlock.states import State
from tre_orchestrator.ledger import tre_verify
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ledger.read import entries


def test_a_clean_table_goes_from_draft_to_a_verified_bundle(air: Airlock, tmp_path: Path) -> None:
    draft = air.draft()
    assert draft.state is State.draft
    submitted = air.submit(draft, {"a.csv": CLEAN, "sub/b.csv": CLEAN})
    assert submitted.state is State.checking
    air.advance()
    waiting = air.view(draft)
    assert waiting.state is State.awaiting_review, waiting.problem
    assert [file.verdict for file in waiting.files] == ["pass", "pass"]
    air.review(draft, CHLOE)
    assert air.view(draft).state is State.in_review
    air.review(draft, DAN)
    assert air.view(draft).state is State.approved
    air.advance()
    assert air.view(draft).state is State.released, air.view(draft).problem
    opened = open_release(air.db, air.store, "heart", draft.id, ANA, air.now)
    bundle, key = tmp_path / opened.name, tmp_path / "key.pem"
    bundle.write_bytes(b"".join(opened.chunks))
    key.write_text(load_or_create_signer(air.settings.keys_dir).public_pem)
    said = subprocess.run(
        [sys.executable, "-I", tre_verify.__file__, "bundle", str(bundle), "--key", str(key)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    with air.db.read() as session:
        kinds = [entry.kind for entry in entries(session, subject=f"request/heart/{draft.id}")]
    assert kinds == [
        "request.submitted", "request.closed", "request.checked",
        "vote.cast", "vote.cast", "review.submitted", "vote.cast", "vote.cast", "review.submitted",
        "votes.revealed", "release.approved", "release.made", "release.fetched",
    ]  # fmt: skip
