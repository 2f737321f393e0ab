"""Canonical JSON (RFC 8785): the same value always becomes the same bytes, so that a digest binds to meaning.

Guarantees: keys sorted by UTF-16 code units, no white space. What JSON readers do not all understand the same way
(floating point, integers beyond 2**53 - 1, lone surrogates, keys that are not text) raises `ValueError`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tre_orchestrator.catalogue.names import Sha256

_SAFE_INTEGER = 2**53 - 1


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value."""
    return _text(value).encode("utf-8")


def sha256_of(value: Any) -> Sha256:
    """SHA-256 (hex) over the canonical bytes of a JSON value."""
    return Sha256(hashlib.sha256(canonical(value)).hexdigest())


def _text(value: Any) -> str:
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > _SAFE_INTEGER:
                raise ValueError(f"{value} is beyond the integers JSON can carry exactly")
            return str(value)
        case Mapping():
            return "{" + ",".join(f"{_text(key)}:{_text(value[key])}" for key in sorted(value, key=_utf16)) + "}"
        case Sequence() if not isinstance(value, bytes | bytearray):
            return "[" + ",".join(_text(item) for item in value) + "]"
    raise ValueError(f"a {type(value).__name__} has no JSON form")


def _utf16(key: Any) -> bytes:
    if not isinstance(key, str):
        raise ValueError("an object's key must be text")
    return key.encode("utf-16-be")
