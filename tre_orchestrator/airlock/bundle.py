"""The bundle: released files with the evidence that exactly they were approved, for anyone to verify offline.

A zip of `files/…`, `ro-crate-metadata.json`, `attestation.dsse.json` (an in-toto statement in a DSSE envelope, signed
by the ledger's key) and `ledger-proof.json` (the approval's ledger entry, its inclusion proof, a signed checkpoint).
`tre bundle verify` and the outsiders' verifier need only the public key. Same approval, same bytes: nothing in it is
random or taken from a clock.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tre_orchestrator.airlock.crate import crate
from tre_orchestrator.airlock.zipping import Member, zipped
from tre_orchestrator.ledger.canonical import Json, canonical
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.ledger.tre_verify import (
    ATTESTATION,
    CRATE,
    FILES,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    PROOF,
    STATEMENT_TYPE,
    files_digest,
    pae,
)


@dataclass(frozen=True)
class ReleasedFile:
    """One approved file; `content` gives its bytes and raises unless they are those that were approved."""

    path: str
    sha256: str
    size: int
    kind: str
    statistic: str
    content: Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """The approval's entry and what proves that the ledger holds it."""

    entry: bytes
    seq: int
    size: int
    proof: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True)
class Approved:
    """Everything a bundle says about the approval."""

    request: int
    project: str
    project_title: str
    title: str
    purpose: str
    tier: int
    policy: dict[str, Json]
    destination: str
    requested_by: str
    approvals: dict[str, Json]
    datasets: tuple[dict[str, Json], ...]
    checks: tuple[dict[str, Json], ...]
    approved_at: str
    files: tuple[ReleasedFile, ...]


def bundle(approved: Approved, proof: LedgerProof, signer: Signer) -> Iterator[bytes]:
    """The bundle's bytes, in pieces."""
    described = canonical(crate(approved))
    members = [Member(FILES + file.path, file.content) for file in approved.files]
    members.append(_document(CRATE, described))
    members.append(_document(ATTESTATION, attestation(approved, described, signer)))
    members.append(_document(PROOF, _proof(proof)))
    return zipped(members)


def attestation(approved: Approved, described: bytes, signer: Signer) -> bytes:
    """The signed in-toto statement about the files and `described`, the RO-Crate's metadata."""
    subjects: list[Json] = [_subject(FILES + file.path, file.sha256) for file in approved.files]
    subjects.append(_subject(CRATE, hashlib.sha256(described).hexdigest()))
    digest = files_digest((file.path, file.sha256, file.size) for file in approved.files)
    payload = canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "request": approved.request,
                "project": approved.project,
                "tier": approved.tier,
                "policy": approved.policy,
                "destination": approved.destination,
                "requestedBy": approved.requested_by,
                "approvals": approved.approvals,
                "datasets": approved.datasets,
                "checks": approved.checks,
                "filesDigest": digest,
            },
        }
    )
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    return canonical(
        {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def _proof(proof: LedgerProof) -> bytes:
    return canonical(
        {
            "entry": base64.b64encode(proof.entry).decode(),
            "index": proof.seq - 1,
            "size": proof.size,
            "proof": [step.hex() for step in proof.proof],
            "checkpoint": proof.checkpoint,
        }
    )


def _subject(name: str, sha256: str) -> dict[str, Json]:
    return {"name": name, "digest": {"sha256": sha256}}


def _document(name: str, content: bytes) -> Member:
    return Member(name, lambda: (content,))
