from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tre_orchestrator.catalogue import canonical as catalogue
from tre_orchestrator.errors import Invalid
from tre_orchestrator.ledger.canonical import canonical, digest

SAFE = 2**53 - 1
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def test_keys_are_sorted_by_utf16_code_units_as_in_rfc_8785() -> None:
    keys = {"\u20ac": "Euro", "\r": "CR", "\ufb33": "Dalet", "1": "One", "\U0001f600": "Smile", "\x80": "C", "ö": "o"}
    assert list(json.loads(canonical(keys))) == ["\r", "1", "\x80", "ö", "\u20ac", "\U0001f600", "\ufb33"]


def test_strings_are_escaped_as_in_rfc_8785() -> None:
    assert (
        canonical('\u20ac$\x0f\nA\'B"\\\\"/\x7f\b\t\f\r')
        == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f\\b\\t\\f\\r"'.encode()
    )


@given(values)
def test_canonical_bytes_mean_the_value_and_nothing_else(value: object) -> None:
    raw = canonical(value)  # type: ignore[arg-type]
    assert json.loads(raw) == value
    assert canonical(json.loads(raw)) == raw
    assert digest(value) == hashlib.sha256(raw).hexdigest()  # type: ignore[arg-type]


@given(values)
def test_ledger_and_catalogue_agree_on_the_bytes(value: object) -> None:
    assert canonical(value) == catalogue.canonical(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {"b": 0.5}]}, "a[1].b"),
        ({"a": SAFE + 1}, "a"),
        ({"a": -SAFE - 1}, "a"),
        ({"a": "\ud800"}, "a"),
        ({"a": {1: "x"}}, "a.(key)"),
        ({"a": b"bytes"}, "a"),
        ({"a": {"x"}}, "a"),
        (float("nan"), "top"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        canonical(value)  # type: ignore[arg-type]
    assert f"'{place}'" in caught.value.sentence


def test_endless_nesting_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(Invalid, match="levels deep"):
        canonical(value)  # type: ignore[arg-type]
