"""R2: edit, delete, reorder, cut off, roll back. Each is detected by a copy of the verifier in an empty folder."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.bundles import Draft, packed
from tests.ledger.conftest import NOW, VERIFIER, Exported, RunVerifier, exported, signed_again
from tests.ledger.test_checkpoints import Witness
from tre_orchestrator.ledger.append import person
from tre_orchestrator.ledger.canonical import canonical
from tre_orchestrator.ledger.entry import FIRST_PREV, around_link
from tre_orchestrator.ledger.export import checkpoint_line
from tre_orchestrator.ledger.keys import Signer, load_or_create_signer
from tre_orchestrator.ledger.tre_verify import NotVerified, leaf_hash, read_checkpoint, read_lines, verify_export

Lines = list[bytes]


def _file(tmp_path: Path, lines: Sequence[bytes]) -> Path:
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def _kept(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "kept-checkpoint.txt"
    path.write_text(text)
    return path


def test_the_untouched_export_is_verified(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path
) -> None:
    said = outsider("ledger", _file(tmp_path, ledger.lines), "--key", key_file)
    assert said.code == 0, said.error
    assert f"all 40 entries of ledger {ledger.signer.name}" in said.out
    assert "give --since" in said.out
    for size in ledger.checkpoints:
        kept = _kept(tmp_path, ledger.checkpoints[size])
        said = outsider("ledger", tmp_path / "export.jsonl", "--key", key_file, "--since", kept)
        assert said.code == 0, said.error
        assert f"It continues your checkpoint of 2026-11-24T09:00:{size:02d}.000000Z ({size} entries)." in said.out


def test_the_verifier_is_one_file_for_python_3_9_with_cryptography_only() -> None:
    source = ast.parse(VERIFIER.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(source)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}


def test_an_empty_ledger_is_verified(tmp_path: Path, outsider: RunVerifier) -> None:
    signer = load_or_create_signer(tmp_path)
    made = exported(tmp_path, (0,), signer)
    key = tmp_path / "key"
    key.write_text(signer.verifier_key)
    kept = _kept(tmp_path, made.checkpoints[0])
    said = outsider("ledger", _file(tmp_path, made.lines), "--key", key, "--since", kept)
    assert (said.code, said.error) == (0, "")


def _entry_line(lines: Lines, seq: int) -> int:
    return next(place for place, line in enumerate(lines) if f'"seq":{seq},"subject"'.encode() in line)


def _edit(lines: Lines) -> None:
    place = _entry_line(lines, 17)
    lines[place] = lines[place].replace(b'"number":16', b'"number":61')


def _edit_last(lines: Lines) -> None:
    place = _entry_line(lines, 40)
    lines[place] = lines[place].replace(b"controller-0", b"controller-1")


def _delete(lines: Lines) -> None:
    del lines[_entry_line(lines, 18)]


def _delete_and_renumber(lines: Lines) -> None:
    del lines[_entry_line(lines, 39)]
    place = _entry_line(lines, 40)
    lines[place] = lines[place].replace(b'"seq":40', b'"seq":39')


def _reorder(lines: Lines) -> None:
    one, two = _entry_line(lines, 20), _entry_line(lines, 21)
    lines[one], lines[two] = lines[two], lines[one]


def _duplicate(lines: Lines) -> None:
    place = _entry_line(lines, 20)
    lines.insert(place, lines[place])


def _cut_off_tail(lines: Lines) -> None:
    del lines[_entry_line(lines, 38) : -1]


def _cut_off_checkpoint(lines: Lines) -> None:
    del lines[-1]


def _cut_in_the_middle(lines: Lines) -> None:
    place = _entry_line(lines, 21)
    lines[place:] = [lines[place][:100]]


def _cut_off_head(lines: Lines) -> None:
    del lines[1]


def _add_entry(lines: Lines) -> None:
    last = lines[_entry_line(lines, 40)][:-1]
    added = json.loads(last) | {"seq": 41, "prev": leaf_hash(last).hex(), "body": None}
    lines.insert(-1, canonical(added) + b"\n")


def _rewrite_from_start(lines: Lines) -> None:
    rewritten = _rechained([line for line in lines[1:-1] if b'"actor"' in line], change=3)
    lines[1:-1] = rewritten


def _swap_text(lines: Lines) -> None:
    place = next(place for place, line in enumerate(lines) if line.startswith(b'{"body"'))
    lines[place] = lines[place].replace(b"as agreed", b"as denied")


def _move_text(lines: Lines) -> None:
    place = next(place for place, line in enumerate(lines) if line.startswith(b'{"body"'))
    lines.insert(place + 2, lines.pop(place))


def _repeat_text(lines: Lines) -> None:
    place = next(place for place, line in enumerate(lines) if line.startswith(b'{"body"'))
    lines.insert(place, lines[place])


def _second_key(lines: Lines) -> None:
    place = _entry_line(lines, 21)
    lines[place] = lines[place].replace(b'"number":20', b'"number":20,"number":99')


def _add_after_end(lines: Lines) -> None:
    lines.append(b"{}\n")


def _unknown_line(lines: Lines) -> None:
    lines.insert(5, b'{"note":"please ignore"}\n')


def _unknown_version(lines: Lines) -> None:
    lines[0] = lines[0].replace(b'"v":1', b'"v":2')


def _other_origin(lines: Lines) -> None:
    lines[0] = lines[0].replace(b"tre-ledger/", b"xxx-ledger/")


def _not_text(lines: Lines) -> None:
    lines[-1] = b'{"checkpoint":1}\n'


def _half_a_character(lines: Lines) -> None:
    lines[-1] = lines[-1].replace(b"tre-ledger/", b"\\ud800/")


def _not_utf8(lines: Lines) -> None:
    place = _entry_line(lines, 21)
    lines[place] = lines[place].replace(b"2027", b"\xff\xfe27")


def _endless_nesting(lines: Lines) -> None:
    place = _entry_line(lines, 21)
    lines[place] = lines[place].replace(b'"number":20', b'"number":' + b"[" * 100_000)


def _nothing(lines: Lines) -> None:
    lines.clear()


ATTACKS: list[tuple[Callable[[Lines], None], str]] = [
    (_edit, "Entry 18 does not follow entry 17 as it stands here"),
    (_edit_last, "an entry was changed"),
    (_delete, "Entry 18 should come here, but the line is entry 19"),
    (_delete_and_renumber, "Entry 39 does not follow entry 38"),
    (_reorder, "Entry 20 should come here, but the line is entry 21"),
    (_duplicate, "Entry 21 should come here, but the line is entry 20"),
    (_cut_off_tail, "covers 40 entries, the export holds 37: entries were cut off"),
    (_cut_off_checkpoint, "ends after entry 40 without a checkpoint"),
    (_cut_in_the_middle, "is not JSON that everybody reads the same way"),
    (_cut_off_head, "The text after entry 0 does not belong to it"),
    (_add_entry, "covers 40 entries, the export holds 41"),
    (_rewrite_from_start, "an entry was changed"),
    (_swap_text, "The text of entry 1 is not the one that was recorded"),
    (_move_text, "The text after entry 3 does not belong to it"),
    (_repeat_text, "The text of entry 1 is not the one that was recorded"),
    (_second_key, "a key that stands twice"),
    (_add_after_end, "after the export's checkpoint"),
    (_unknown_line, "does not have the form this verifier understands"),
    (_unknown_version, "not a ledger export of version 1"),
    (_other_origin, "names another ledger"),
    (_not_text, "checkpoint is not text"),
    (_half_a_character, "surrogates not allowed"),
    (_not_utf8, "is not JSON that everybody reads the same way"),
    (_endless_nesting, "is not JSON that everybody reads the same way"),
    (_nothing, "The first line is not JSON"),
]


@pytest.mark.parametrize(("attack", "sentence"), ATTACKS, ids=[attack.__name__[1:] for attack, _ in ATTACKS])
def test_R2_a_changed_export_is_detected(
    ledger: Exported,
    outsider: RunVerifier,
    key_file: Path,
    tmp_path: Path,
    attack: Callable[[Lines], None],
    sentence: str,
) -> None:
    lines = list(ledger.lines)
    attack(lines)
    assert lines != list(ledger.lines)
    said = outsider("ledger", _file(tmp_path, lines), "--key", key_file)
    assert (said.code, said.out) == (1, "")
    assert said.error.startswith("NOT VERIFIED: ")
    assert sentence in said.error


def _rechained(entries: Sequence[bytes], change: int) -> Lines:
    """The entries with number `change` edited and everything after it chained anew, as a holder of the key would."""
    prev, lines = "0" * 64, []
    for line in entries:
        entry = json.loads(line) | {"prev": prev}
        if entry["seq"] == change:
            entry["facts"]["number"] = 999
        raw = canonical(entry)
        prev = leaf_hash(raw).hex()
        lines.append(raw + b"\n")
    return lines


def _entries(ledger: Exported) -> Lines:
    return [line for line in ledger.lines if line.startswith(b'{"actor"')]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda entries: _rechained(entries, change=3), "history was rewritten"),
        (lambda entries: _rechained([*entries[:9], *entries[10:]], change=0), None),
        (lambda entries: entries[:20], "covers 25 entries, the export only 20: entries were cut off"),
        (lambda entries: _rechained(entries, change=25), "history was rewritten"),
    ],
    ids=["edited and signed again", "deleted and signed again", "rolled back and signed again", "last edited"],
)
def test_R2_who_holds_the_key_cannot_rewrite_what_a_kept_checkpoint_covers(
    ledger: Exported,
    outsider: RunVerifier,
    key_file: Path,
    tmp_path: Path,
    make: Callable[[Lines], Lines],
    sentence: str | None,
) -> None:
    forged = _file(tmp_path, signed_again(ledger, make(_entries(ledger))))
    kept = _kept(tmp_path, ledger.checkpoints[25])
    said = outsider("ledger", forged, "--key", key_file, "--since", kept)
    assert said.code == 1
    assert (sentence or "one is missing or moved") in said.error


def test_R2_an_older_backup_is_detected(
    tmp_path: Path, ledger: Exported, outsider: RunVerifier, key_file: Path
) -> None:
    """The restored ledger was truly signed, once; only a later checkpoint shows that it is behind."""
    entries = _entries(ledger)[:12]
    older = _file(tmp_path, [ledger.lines[0], *entries, checkpoint_line(ledger.checkpoints[12])])
    assert outsider("ledger", older, "--key", key_file).code == 0
    said = outsider("ledger", older, "--key", key_file, "--since", _kept(tmp_path, ledger.checkpoints[40]))
    assert said.code == 1
    assert "covers 40 entries, the export only 12: entries were cut off or the ledger was rolled back" in said.error


@pytest.mark.parametrize("kind", ["bundle", "export"])
def test_R2_a_kept_bundle_or_export_shows_a_rewritten_past(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path, kind: str
) -> None:
    draft = Draft(ledger.signer)
    proof = json.loads(dict(draft.members())["ledger-proof.json"]) | {"checkpoint": ledger.checkpoints[25]}
    kept, export = tmp_path / "kept", [*ledger.lines[:-1], checkpoint_line(ledger.checkpoints[25])]
    kept.write_bytes(b"".join(export) if kind == "export" else packed([("ledger-proof.json", canonical(proof))]))
    whole = _file(tmp_path, ledger.lines)
    said = outsider("ledger", whole, "--key", key_file, "--since", kept)
    assert said.code == 0, said.error
    assert "It continues your checkpoint of 2026-11-24T09:00:25.000000Z (25 entries)." in said.out
    _file(tmp_path, signed_again(ledger, _rechained(_entries(ledger), change=3)))
    said = outsider("ledger", whole, "--key", key_file, "--since", kept)
    assert (said.code, "history was rewritten" in said.error) == (1, True)


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [
        (packed([("ledger-proof.json", b"[]")]), "holds no checkpoint"),
        (packed([("ledger-proof.json", b'{"checkpoint":1}')]), "holds no checkpoint"),
        (packed([("files/x", b"")]), "has no ledger-proof.json"),
        (b"PK\x03\x04", "not a whole zip file"),
        (b'{"export":"tre-ledger"}\n', "does not have the form"),
        (b'{"export"', "is not JSON that everybody reads the same way"),
        (b"\xff", "cannot be read"),
        (b"", "does not have a checkpoint's form"),
    ],
)
def test_what_holds_no_checkpoint_is_said(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path, kept: bytes, sentence: str
) -> None:
    (tmp_path / "kept").write_bytes(kept)
    said = outsider("ledger", _file(tmp_path, ledger.lines), "--key", key_file, "--since", tmp_path / "kept")
    assert (said.code, said.out) == (1, "")
    assert sentence in said.error


def test_R2_what_is_rewritten_after_the_kept_checkpoint_is_not_claimed_to_be_seen(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path
) -> None:
    """The limit of the method, as the threat model says it: later entries need a later checkpoint."""
    forged = _file(tmp_path, signed_again(ledger, _rechained(_entries(ledger), change=30)))
    assert outsider("ledger", forged, "--key", key_file, "--since", _kept(tmp_path, ledger.checkpoints[25])).code == 0
    assert outsider("ledger", forged, "--key", key_file, "--since", _kept(tmp_path, ledger.checkpoints[40])).code == 1


def test_another_key_does_not_verify(ledger: Exported, outsider: RunVerifier, tmp_path: Path) -> None:
    other = Signer(Ed25519PrivateKey.generate())
    path = _file(tmp_path, ledger.lines)
    for text, sentence in (
        (other.public_pem, "not signed by the key you gave"),
        (other.verifier_key, f"the key is for '{other.name}'"),
        ("nonsense", "neither PEM nor"),
    ):
        key = tmp_path / "other.pem"
        key.write_text(text)
        said = outsider("ledger", path, "--key", key)
        assert said.code == 1
        assert sentence in said.error


def test_a_forged_earlier_checkpoint_is_refused(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path
) -> None:
    other = Signer(Ed25519PrivateKey.generate())
    body = ledger.checkpoints[25].split("\n\n")[0] + "\n"
    kept = _kept(tmp_path, other.note(body))
    said = outsider("ledger", _file(tmp_path, ledger.lines), "--key", key_file, "--since", kept)
    assert said.code == 1
    assert "not signed by the key you gave" in said.error


def test_witnesses_are_required_when_named(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path
) -> None:
    witness, absent = Witness("witness.example.org"), Witness("other.example.org")
    text = ledger.checkpoints[40]
    path = _file(tmp_path, [*ledger.lines[:-1], checkpoint_line(text + witness.cosign(text))])
    assert outsider("ledger", path, "--key", key_file).code == 0
    said = outsider("ledger", path, "--key", key_file, "--witness", witness.key)
    assert said.code == 0
    assert "Seen and signed by: witness.example.org." in said.out
    said = outsider("ledger", path, "--key", key_file, "--witness", witness.key, "--witness", absent.key)
    assert said.code == 1
    assert "Witness 'other.example.org' did not sign" in said.error


def test_files_that_cannot_be_read_and_unclear_commands_say_so(
    ledger: Exported, outsider: RunVerifier, key_file: Path, tmp_path: Path
) -> None:
    said = outsider("ledger", tmp_path / "absent", "--key", key_file)
    assert said.code == 1
    assert "cannot be read" in said.error
    assert outsider("ledger", _file(tmp_path, ledger.lines)).code == 2
    assert outsider("praise").code == 2


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_byte_of_an_export_can_change_unnoticed(ledger: Exported, data: st.DataObject) -> None:
    raw = bytearray(b"".join(ledger.lines))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(NotVerified):
        verify_export(read_lines(io.BytesIO(bytes(raw))), ledger.signer.key)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_part_of_an_export_can_be_taken_out_unnoticed(ledger: Exported, data: st.DataObject) -> None:
    raw = b"".join(ledger.lines)
    start = data.draw(st.integers(0, len(raw) - 1))
    end = data.draw(st.integers(start + 1, len(raw)))
    removed = raw[start:end]
    whole_texts = removed.startswith(b'{"body"') and removed.endswith(b"}\n") and b'"actor"' not in removed
    if whole_texts and b'"checkpoint"' not in removed:
        return  # a text may be left out: erasure does just that
    with pytest.raises(NotVerified):
        verify_export(read_lines(io.BytesIO(raw[:start] + raw[end:])), ledger.signer.key)


MALFORMED = {
    "float": ('"v":1', '"v":1.0'),
    "boolean": ('"v":1', '"v":true'),
    "version": ('"v":1', '"v":2'),
    "actor": ('"kind":"person"', '"kind":"robot"'),
    "time": ("T09:00:00", " 09:00:00"),
    "commitment": ('"body":"', '"body":"x'),
    "facts": ('"facts":{', '"facts":[{'),
    "key": ('"subject"', '"object"'),
    "more": ('"v":1', '"v":1,"w":2'),
    "nan": ('"number":0', '"number":NaN'),
    "trailing": ('"v":1}', '"v":1}x'),
    "twice in depth": ('"number":0', '"number":{"a":1,"a":2}'),
}


@pytest.mark.parametrize(("old", "new"), MALFORMED.values(), ids=MALFORMED.keys())
def test_an_entry_of_another_form_is_refused_even_when_signed(ledger: Exported, old: str, new: str) -> None:
    """Whoever signs: two readers must not be able to understand an entry differently."""
    first = _entries(ledger)[0].decode()
    assert old in first
    forged = signed_again(ledger, [first.replace(old, new, 1).encode()])
    with pytest.raises(NotVerified):
        verify_export(iter(forged), ledger.signer.key)


ODD = st.dictionaries(st.text(max_size=5), st.lists(st.dictionaries(st.text(max_size=3), st.booleans())), max_size=3)


@settings(max_examples=50, deadline=None)
@given(facts=ODD, subject=st.text(min_size=1, max_size=5), who=st.text(min_size=1, max_size=5))
def test_unusual_but_proper_entries_are_verified(
    ledger: Exported, facts: dict[str, object], subject: str, who: str
) -> None:
    entry = json.loads(_entries(ledger)[0])
    entry.update(facts=facts, subject=subject, actor={"kind": "console", "id": who}, body=None)
    signed = signed_again(ledger, [canonical(entry) + b"\n"])
    assert verify_export(iter(signed), ledger.signer.key).checkpoint.size == 1


def test_roots_at_many_sizes_are_those_of_the_checkpoints(ledger: Exported) -> None:
    verdict = verify_export(iter(ledger.lines), ledger.signer.key, roots_at=ledger.checkpoints)
    for size, text in ledger.checkpoints.items():
        assert verdict.roots[size] == read_checkpoint(text, ledger.signer.key).root
    assert verdict.bodies == 14


def test_an_export_without_texts_holds_no_text_and_no_salt(tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path)
    made = exported(tmp_path, (7,), signer, bodies=False)
    raw = b"".join(made.lines)
    assert b"as agreed" not in raw
    assert b"salt" not in raw
    assert verify_export(iter(made.lines), signer.key).bodies == 0


def test_a_line_without_end_does_not_fill_the_memory(ledger: Exported) -> None:
    endless = io.BytesIO(ledger.lines[0] + b'{"actor":"' + b"x" * 10_000_000)
    with pytest.raises(NotVerified):
        verify_export(read_lines(endless), ledger.signer.key)
    endless.seek(0)
    assert max(len(line) for line in read_lines(endless)) <= 4 * 1024 * 1024


def test_the_form_and_hash_of_an_entry_are_fixed() -> None:
    """A known answer, so that a change of form cannot pass as a refactoring."""
    around = around_link("project.approved", person("anna"), "project/heart", {"digest": "ab"}, None, NOW)
    raw = around.entry(1, FIRST_PREV)
    assert raw == (
        b'{"actor":{"id":"anna","kind":"person"},"at":"2026-11-23T09:00:00.000000Z","body":null,'
        b'"facts":{"digest":"ab"},"kind":"project.approved","prev":"' + b"0" * 64 + b'","seq":1,'
        b'"subject":"project/heart","v":1}'
    )
    assert leaf_hash(raw).hex() == "c6eb58ac5ea4d82e9f3ba4e29a2057b732f8fccf4fee3e73357664e4a4a7569a"
