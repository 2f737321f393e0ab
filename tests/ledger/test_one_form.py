"""An entry has one right form: the outsiders' verifier takes what the canonical encoder writes, and nothing else.

Whoever signs: bytes that two readers could understand differently, or write differently, are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import Exported, signed_again
from tre_orchestrator.errors import Invalid
from tre_orchestrator.ledger.canonical import canonical
from tre_orchestrator.ledger.commitments import commitment_digest
from tre_orchestrator.ledger.tre_verify import NotVerified, verify_export

ENTRY: Mapping[str, Any] = {
    "actor": {"id": "anna", "kind": "person"},
    "at": "2026-11-23T09:00:00.000000Z",
    "body": None,
    "facts": {},
    "kind": "test.made",
    "prev": "0" * 64,
    "seq": 1,
    "subject": "x",
    "v": 1,
}
SAFE = 2**53 - 1


def verified(ledger: Exported, raw: bytes) -> bool:
    """Whether the verifier takes an export of this one entry, signed by the ledger's own key."""
    try:
        return verify_export(iter(signed_again(ledger, [raw + b"\n"])), ledger.signer.key).checkpoint.size == 1
    except NotVerified:
        return False


def with_facts(facts: str) -> bytes:
    """An entry whose facts stand as this text."""
    return canonical(ENTRY).replace(b'"facts":{}', b'"facts":' + facts.encode())


FORMS = {
    "nothing": "{}",
    "plain": '{"a":"b","c":-7,"d":0,"e":true,"f":false,"g":null}',
    "longest number": f'{{"a":{SAFE},"b":-{SAFE}}}',
    "nested": '{"a":{"b":["c",{"d":1}]},"e":[]}',
    "escapes": '{"a":"\\"\\\\\\n\\u0001","b":"\u007f\u00e4\U0001f600"}',
    "UTF-16 order": '{"\U0001f600":1,"\uffee":2}',
    "deepest": '{"a":' + "[" * 30 + "]" * 30 + "}",
}


@pytest.mark.parametrize("facts", FORMS.values(), ids=FORMS.keys())
def test_what_is_canonical_is_verified(ledger: Exported, facts: str) -> None:
    raw = with_facts(facts)
    assert canonical(json.loads(raw)) == raw
    assert verified(ledger, raw)


OTHER_FORMS = {
    "half a surrogate pair": '{"a":"\\ud800"}',
    "half a surrogate pair as a key": '{"\\udc00":1}',
    "half a surrogate pair, nested": '{"a":[{"b":"\\ud800"}]}',
    "escaped for no reason": '{"a":"\\u0062"}',
    "escaped slash": '{"a":"\\/"}',
    "long escape": '{"a":"\\u000a"}',
    "escape in capitals": '{"a":"\\u001F"}',
    "surrogate pair as escapes": '{"a":"\\ud83d\\ude00"}',
    "space after the colon": '{"a": 1}',
    "space after the comma": '{"a":1, "b":2}',
    "space at the end": '{"a":1 }',
    "tab": '{"a":\t1}',
    "space in a list": '{"a":[1, 2]}',
    "space in nothing": "{ }",
    "key order": '{"b":1,"a":2}',
    "key order in depth": '{"a":{"c":1,"b":2}}',
    "code point order": '{"\uffee":2,"\U0001f600":1}',
    "key twice": '{"a":1,"a":1}',
    "key twice in depth": '{"a":{"b":1,"b":1}}',
    "key twice by escape": '{"a":1,"\\u0061":1}',
    "minus zero": '{"a":-0}',
    "minus zero in depth": '{"a":[-0]}',
    "leading zero": '{"a":01}',
    "plus": '{"a":+1}',
    "fraction": '{"a":1.0}',
    "exponent": '{"a":1e3}',
    "exponent in depth": '{"a":[1E3]}',
    "big number": f'{{"a":{SAFE + 1}}}',
    "big negative number": f'{{"a":{-SAFE - 1}}}',
    "huge number": f'{{"a":{"9" * 400}}}',
    "endless number": f'{{"a":{"9" * 5000}}}',
    "not a number": '{"a":NaN}',
    "infinity": '{"a":-Infinity}',
    "too deep": '{"a":' + "[" * 31 + "]" * 31 + "}",
    "comma at the end": '{"a":1,}',
    "bare control character": '{"a":"\x01"}',
    "other digits": '{"a":\u0661}',
    "single quotes": "{'a':1}",
}


@pytest.mark.parametrize("facts", OTHER_FORMS.values(), ids=OTHER_FORMS.keys())
def test_R2_what_is_not_canonical_is_refused_even_when_signed(ledger: Exported, facts: str) -> None:
    assert not verified(ledger, with_facts(facts))


OTHER_ENTRIES = {
    "space in the actor": ('"actor":{"id":', '"actor":{"id": '),
    "actor's key order": ('{"id":"anna","kind":"person"}', '{"kind":"person","id":"anna"}'),
    "escaped name": ('"id":"anna"', '"id":"\\u0061nna"'),
    "half a surrogate pair in the subject": ('"subject":"x"', '"subject":"\\ud800"'),
    "escaped kind": ('"kind":"test.made"', '"kind":"test\\u002emade"'),
    "number with a zero": ('"seq":1', '"seq":01'),
    "number with an exponent": ('"seq":1', '"seq":1e0'),
    "key order": ('"subject":"x","v":1', '"v":1,"subject":"x"'),
    "space at the end": ('"v":1}', '"v":1} '),
    "space at the start": ('{"actor"', ' {"actor"'),
    "return before the line's end": ('"v":1}', '"v":1}\r'),
}


@pytest.mark.parametrize(("old", "new"), OTHER_ENTRIES.values(), ids=OTHER_ENTRIES.keys())
def test_R2_an_entry_has_no_second_form(ledger: Exported, old: str, new: str) -> None:
    raw = canonical(ENTRY).decode()
    assert old in raw
    assert not verified(ledger, raw.replace(old, new).encode())


texts = st.text(max_size=4) | st.sampled_from(["\\", '"', "\n", "/", "\u007f", "\ud800", "\U0001f600", "a:", '":'])
numbers = st.integers(-SAFE - 2, SAFE + 2) | st.integers(-20, 20)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """`value` as some JSON writer would write it: mostly in the canonical form, now and then in another."""

    def once(usual: str, *others: str) -> str:
        return draw(st.sampled_from([usual] * 12 + list(others)))

    if isinstance(value, Mapping):
        keys = draw(st.permutations(list(value))) if once("", "shuffled") else sorted(value, key=_utf16)
        keys = [*keys, keys[0]] if keys and once("", "twice") else keys
        pairs = [f"{draw(written(key))}{once(':', ': ', ' :')}{draw(written(value[key]))}" for key in keys]
        return "{" + once("", " ") + once(",", ", ").join(pairs) + "}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=bool(once("", "escaped")) or not _is_text(value))
    if isinstance(value, Sequence):
        return "[" + once(",", " ,").join([draw(written(item)) for item in value]) + once("", "\t") + "]"
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return once("0", "-0", "0.0", "0e0")
    return json.dumps(value) if isinstance(value, float | bool) or value is None else once(str(value), f"{value}.0")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_canonical(raw: bytes) -> bool:
    try:
        return canonical(json.loads(raw)) == raw
    except (ValueError, Invalid):
        return False


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_R2_the_verifier_takes_exactly_what_the_canonical_encoder_writes(ledger: Exported, data: st.DataObject) -> None:
    facts = data.draw(st.dictionaries(texts, values, max_size=4))
    raw = with_facts(data.draw(written(facts)))
    assert verified(ledger, raw) == _is_canonical(raw)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_R2_one_more_byte_anywhere_in_an_entry_is_refused_or_canonical(ledger: Exported, data: st.DataObject) -> None:
    raw = with_facts('{"a":"b","c":[10,{"d":null}],"e":-7}')
    place = data.draw(st.integers(1, len(raw)))
    byte = data.draw(st.sampled_from([b" ", b"\t", b"0", b"9", b"-", b"e", b"\\", b",", b'"']))
    raw = raw[:place] + byte + raw[place:]
    if verified(ledger, raw):
        assert _is_canonical(raw)


BODIES = {
    "canonical": ('{"reason":"x"}', True),
    "spaced": ('{"reason": "x"}', False),
    "twice": ('{"a":1,"a":1}', False),
}


@pytest.mark.parametrize(("text", "taken"), BODIES.values(), ids=BODIES.keys())
def test_a_text_beside_its_entry_is_canonical_too(ledger: Exported, text: str, taken: bool) -> None:
    salt = bytes(32)
    raw = canonical({**ENTRY, "body": commitment_digest(salt, text.encode())})
    opened = canonical({"body": text, "salt": salt.hex(), "seq": 1}) + b"\n"
    first, entry, last = signed_again(ledger, [raw + b"\n"])
    lines = iter([first, entry, opened, last])
    if taken:
        assert verify_export(lines, ledger.signer.key).bodies == 1
    else:
        with pytest.raises(NotVerified, match=r"one right form|stands twice"):
            verify_export(lines, ledger.signer.key)
