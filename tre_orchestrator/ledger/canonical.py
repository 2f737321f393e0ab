"""RFC 8785 canonical JSON for the values this project hashes or signs.

One value has exactly one byte form. Only what every JSON reader understands the same way is accepted: strings without
lone surrogates, whole numbers within ±(2^53-1), booleans, null, lists and objects. Floating point is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tre_orchestrator.errors import Invalid

Json = str | int | bool | None | Sequence["Json"] | Mapping[str, "Json"]

_SAFE_INTEGER = 2**53 - 1
"""RFC 8785 takes numbers as IEEE 754 doubles; whole numbers beyond this are no longer exact (RFC 7493, 2.2)."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False).encode
_MAX_DEPTH = 32


def canonical(value: Json) -> bytes:
    """The canonical bytes of `value`. Raises `Invalid` naming the place of a value that has no canonical form."""
    return _encode(_plain(value, (), 0)).encode("utf-8")


def digest(value: Json) -> str:
    """SHA-256 of the canonical bytes, as hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


_Place = tuple[Any, ...]
"""Where a value stands: (place of what holds it, key or number); put into words only when it is refused."""


def _plain(value: Any, place: _Place, depth: int) -> Any:
    """`value` as plain lists and dicts, keys in RFC 8785 order (UTF-16 code units), everything else refused."""
    if isinstance(value, str):
        return _text(value, place)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise _invalid(place, f"is the number {value}, which is not exact in every JSON reader; write it as text")
        return value
    if depth >= _MAX_DEPTH:
        raise _invalid(place, f"is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        keys = [_text(key, (place, "(key)")) for key in value]
        return {key: _plain(value[key], (place, key), depth + 1) for key in sorted(keys, key=_utf16)}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(item, (place, number), depth + 1) for number, item in enumerate(value)]
    raise _invalid(
        place, f"is of type {type(value).__name__}; only text, whole numbers, booleans, null, lists, objects"
    )


def _text(value: Any, place: _Place) -> str:
    if not isinstance(value, str):
        raise _invalid(place, "is an object key that is not text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _invalid(place, "holds half of a surrogate pair, which is not text") from None
    return value


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _invalid(place: _Place, what: str) -> Invalid:
    words = ""
    while place:
        place, part = place
        words = (f"[{part}]" if isinstance(part, int) else f".{part}") + words
    return Invalid("not-canonical", f"The value at '{words.lstrip('.') or 'top'}' {what}.")
