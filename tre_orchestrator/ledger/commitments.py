"""Salted commitments: a digest that can be published now and opened later, and that tells nothing until then.

Used for detachable bodies and for blind votes (A5). The salt has 256 bits, so a commitment to "approve" or "reject"
cannot be found by trying both; whoever erases salt and value makes the digest unopenable for good.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from tre_orchestrator.ledger.canonical import Json, canonical

SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Commitment:
    """`digest` may be published; `salt` stays with the value until it is revealed. Both hexadecimal."""

    digest: str
    salt: str


def commit(value: Mapping[str, Json]) -> Commitment:
    """Commit to `value` under a fresh salt."""
    salt = secrets.token_bytes(SALT_BYTES)
    return Commitment(commitment_digest(salt, canonical(value)), salt.hex())


def opens(digest: str, salt: str, value: Mapping[str, Json]) -> bool:
    """Whether `salt` and `value` are what `digest` was made from."""
    try:
        raw = bytes.fromhex(salt)
    except ValueError:
        return False
    return len(raw) == SALT_BYTES and hmac.compare_digest(commitment_digest(raw, canonical(value)), digest)


def commitment_digest(salt: bytes, body: bytes) -> str:
    """SHA-256(salt ‖ body) in hexadecimal; the salt's fixed length makes the split unambiguous."""
    return hashlib.sha256(salt + body).hexdigest()
