"""Bundles made by hand from the format's description, so that every part can be made wrong."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.ledger.conftest import NOW
from tre_orchestrator.ledger import tree
from tre_orchestrator.ledger.entry import FIRST_PREV, Actor, around_link
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.ledger.tre_verify import complete_root, files_digest, leaf_hash, pae

FILES = {"tables/results.csv": b"group,n\na,120\nb,80\n", "figure.svg": b"<svg/>" * 1000, "note ä.txt": b""}
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass
class Draft:
    """A bundle before it is packed; `members` in the order they will stand in the zip."""

    signer: Signer
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    crate: bytes = b'{"@context":"https://w3id.org/ro/crate/1.1/context"}'

    def __post_init__(self) -> None:
        digest = files_digest((path, sha(content), len(content)) for path, content in self.files.items())
        self.predicate: dict[str, Any] = {
            "request": 12,
            "project": "heart",
            "tier": 2,
            "policy": {"profile": "uk", "version": "3", "digest": "ab" * 32},
            "destination": "university.example.org",
            "requestedBy": "anna",
            "approvals": {"required": 2, "given": 2},
            "datasets": [{"name": "records", "version": "2026-1", "manifest": "cd" * 32}],
            "checks": [{"name": "small-counts", "version": "1"}],
            "filesDigest": digest,
        }
        self.facts: dict[str, Any] = {
            "files_digest": digest,
            "policy": self.predicate["policy"],
            "destination": self.predicate["destination"],
            "approvals": self.predicate["approvals"],
        }
        self.kind, self.subject = "release.approved", "request/heart/12"
        self.statement: dict[str, Any] = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject(f"files/{path}", content) for path, content in self.files.items()]
            + [subject("ro-crate-metadata.json", self.crate)],
            "predicateType": "https://tre.dev/attestations/release/v1",
            "predicate": self.predicate,
        }

    def envelope(self, signer: Signer | None = None) -> dict[str, Any]:
        """The DSSE envelope over the statement as it is now."""
        signer = signer or self.signer
        payload = json.dumps(self.statement, ensure_ascii=False).encode()
        signature = base64.b64encode(signer.sign(pae(PAYLOAD_TYPE, payload))).decode()
        return {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": signer.key_id, "sig": signature}],
        }

    def proof(self, signer: Signer | None = None, *, seq: int = 6, size: int = 11) -> dict[str, Any]:
        """The approval as entry `seq` of a ledger of `size` entries."""
        signer = signer or self.signer
        prev, raw, leaves = FIRST_PREV, b"", []
        for number in range(1, size + 1):
            kind, facts = (self.kind, self.facts) if number == seq else ("test.made", {"n": number})
            subject_ = self.subject if number == seq else "x"
            entry = around_link(kind, Actor("software", "airlock"), subject_, facts, None, NOW).entry(number, prev)
            raw = entry if number == seq else raw
            prev = leaf_hash(entry)
            leaves.append(prev)

        def lookup(node: tree.Node) -> bytes:
            width = 1 << node.level
            return complete_root(leaves[node.position * width : (node.position + 1) * width])

        root = base64.b64encode(tree.root(size, lookup)).decode()
        note = signer.note(f"{signer.name}\n{size}\n{root}\ntime 2026-11-24T00:00:00.000000Z\n")
        return {
            "entry": base64.b64encode(raw).decode(),
            "index": seq - 1,
            "size": size,
            "proof": [step.hex() for step in tree.inclusion(seq - 1, size, partial(lookup))],
            "checkpoint": note,
        }

    def members(self) -> list[tuple[str, bytes]]:
        """Everything that belongs into the zip."""
        return [
            *((f"files/{path}", content) for path, content in self.files.items()),
            ("ro-crate-metadata.json", self.crate),
            ("attestation.dsse.json", json.dumps(self.envelope()).encode()),
            ("ledger-proof.json", json.dumps(self.proof()).encode()),
        ]

    def again(self) -> Draft:
        """A copy to change."""
        other = copy.copy(self)
        for name in ("files", "predicate", "facts", "statement"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        other.statement["predicate"] = other.predicate
        return other


def sha(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def subject(name: str, content: bytes) -> dict[str, Any]:
    """A subject of an in-toto statement."""
    return {"name": name, "digest": {"sha256": sha(content)}}


def packed(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The zip, by Python's own writer."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 23, 9, 0, 0)), content, method)
    return out.getvalue()
