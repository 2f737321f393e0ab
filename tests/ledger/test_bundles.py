"""A bundle is verified only when every byte in it is attested, signed and approved in the ledger (A1)."""

from __future__ import annotations

import base64
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.bundles import FILES, Draft, packed, subject
from tests.ledger.conftest import RunVerifier
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.ledger.tre_verify import NotVerified, say_bundle, verify_bundle

SIGNER, OTHER = Signer(Ed25519PrivateKey.generate()), Signer(Ed25519PrivateKey.generate())
Members = list[tuple[str, bytes]]


def refused(tmp_path: Path, raw: bytes, **limits: int) -> str:
    """The sentence with which the bundle is refused."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(raw)
    with pytest.raises(NotVerified) as caught:
        verify_bundle(path, SIGNER.key, **limits)
    return str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_proper_bundle_is_verified_by_outsiders(tmp_path: Path, outsider: RunVerifier, method: int) -> None:
    path, key = tmp_path / "bundle.zip", tmp_path / "key.pem"
    path.write_bytes(packed(Draft(SIGNER).members(), method))
    key.write_text(SIGNER.public_pem)
    said = outsider("bundle", path, "--key", key)
    assert (said.code, said.error) == (0, "")
    size = sum(map(len, FILES.values()))
    assert (
        f"Verified: 3 files, {size} bytes, released from project heart, request 12, to university.example.org"
        in said.out
    )
    assert "Approved by 2 people under policy" in said.out
    assert f"Entry 6 of ledger {SIGNER.name}, in the checkpoint of 2026-11-24T00:00:00.000000Z (11 entries)" in said.out
    said = outsider("bundle", path, "--key", key, "--max-bytes", "100")
    assert said.code == 1
    assert "unpacks to more than 100 bytes" in said.error


def test_a_changed_bundle_is_refused_by_outsiders(tmp_path: Path, outsider: RunVerifier) -> None:
    path, key = tmp_path / "bundle.zip", tmp_path / "key.pem"
    members = [(name, content.replace(b"120", b"121")) for name, content in Draft(SIGNER).members()]
    path.write_bytes(packed(members))
    key.write_text(SIGNER.public_pem)
    said = outsider("bundle", path, "--key", key)
    assert (said.code, said.out) == (1, "")
    assert "NOT VERIFIED: 'files/tables/results.csv' is not the file that was attested" in said.error


def _change(name: str, change: Callable[[Any], Any]) -> Callable[[Members], Members]:
    """Change one of the bundle's JSON documents."""

    def apply(members: Members) -> Members:
        return [
            (member, json.dumps(change(json.loads(content))).encode() if member == name else content)
            for member, content in members
        ]

    return apply


def _without(name: str) -> Callable[[Members], Members]:
    return lambda members: [member for member in members if member[0] != name]


def _with(name: str, content: bytes = b"extra") -> Callable[[Members], Members]:
    return lambda members: [*members, (name, content)]


def _payload(change: Callable[[dict[str, Any]], Any]) -> Callable[[Members], Members]:
    """Change the attestation's statement without signing it again."""

    def apply(envelope: dict[str, Any]) -> dict[str, Any]:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        return {**envelope, "payload": base64.b64encode(json.dumps(statement).encode()).decode()}

    return _change("attestation.dsse.json", apply)


ATTESTATION, PROOF = "attestation.dsse.json", "ledger-proof.json"
SWAPPED: list[tuple[str, Callable[[Members], Members], str]] = [
    ("extra file", _with("files/extra.csv"), "'files/extra.csv' is in the bundle, but nobody attested it"),
    ("missing file", _without("files/figure.svg"), "'files/figure.svg' is attested, but missing"),
    ("missing crate", _without("ro-crate-metadata.json"), "is attested, but missing"),
    ("missing attestation", _without(ATTESTATION), "has no attestation.dsse.json"),
    ("missing proof", _without(PROOF), "has no ledger-proof.json"),
    ("another document", _with("README.txt"), "has no place in a bundle"),
    ("absolute path", _with("/files/a"), "has no place in a bundle"),
    ("way up", _with("files/../../a"), "has no place in a bundle"),
    ("way up in Windows", _with("files/..\\a"), "has no place in a bundle"),
    ("drive", _with("files/C:a"), "has no place in a bundle"),
    ("here", _with("files/./a"), "has no place in a bundle"),
    ("double slash", _with("files//a"), "has no place in a bundle"),
    ("folder", _with("files/sub/", b""), "has no place in a bundle"),
    ("line break", _with("files/a\nb"), "has no place in a bundle"),
    ("only dots", _with("files/..."), "has no place in a bundle"),
    ("other case", _with("files/FIGURE.svg"), "stands in the bundle twice"),
    ("other accents", _with("files/note a\u0308.txt"), "stands in the bundle twice"),
    ("changed byte", lambda m: [(n, c + b" " if n == "files/figure.svg" else c) for n, c in m], "bytes differ"),
    ("changed crate", _change("ro-crate-metadata.json", lambda crate: {**crate, "a": 1}), "bytes differ"),
    ("statement changed", _payload(lambda statement: statement["predicate"].update(tier=0)), "changed after signing"),
    ("signature of another type", _change(ATTESTATION, lambda e: {**e, "payloadType": "text/plain"}), "not an in-toto"),
    ("no signature", _change(ATTESTATION, lambda e: {**e, "signatures": []}), "exactly one"),
    ("two signatures", _change(ATTESTATION, lambda e: {**e, "signatures": e["signatures"] * 2}), "exactly one"),
    ("unknown field", _change(ATTESTATION, lambda e: {**e, "note": 1}), "does not have the form"),
    ("damaged base64", _change(ATTESTATION, lambda e: {**e, "payload": e["payload"] + "="}), "damaged"),
    ("not JSON", lambda m: [(n, b"{" if n == ATTESTATION else c) for n, c in m], "not JSON that everybody"),
    ("key twice", lambda m: [(n, c.replace(b"{", b'{"index":5,', 1) if n == PROOF else c) for n, c in m], "twice"),
    ("other place", _change(PROOF, lambda p: {**p, "index": 4}), "do not belong together"),
    ("other size", _change(PROOF, lambda p: {**p, "size": 12}), "do not belong together"),
    ("shorter proof", _change(PROOF, lambda p: {**p, "proof": p["proof"][:-1]}), "does not lead to the signed root"),
    ("longer proof", _change(PROOF, lambda p: {**p, "proof": p["proof"] * 2}), "inclusion proof"),
    ("other proof", _change(PROOF, lambda p: {**p, "proof": p["proof"][::-1]}), "does not lead to the signed root"),
    ("odd proof", _change(PROOF, lambda p: {**p, "proof": ["zz"]}), "does not have the form"),
    ("boolean place", _change(PROOF, lambda p: {**p, "index": True}), "does not have the form"),
    ("not text", _change(PROOF, lambda p: {**p, "checkpoint": "\ud800" + p["checkpoint"]}), "surrogates not allowed"),
    ("no checkpoint", _change(PROOF, lambda p: {**p, "checkpoint": ""}), "checkpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "sentence"), [row[1:] for row in SWAPPED], ids=[row[0] for row in SWAPPED])
def test_A1_a_bundle_with_anything_changed_is_refused(
    tmp_path: Path, attack: Callable[[Members], Members], sentence: str
) -> None:
    members = Draft(SIGNER).members()
    changed = attack(members)
    assert changed != members
    assert sentence in refused(tmp_path, packed(changed))


def _document(draft: Draft, name: str, content: Any) -> Members:
    return [(member, json.dumps(content).encode() if member == name else raw) for member, raw in draft.members()]


def test_A1_another_key_signs_nothing(tmp_path: Path) -> None:
    draft = Draft(SIGNER)
    everything = Draft(OTHER).members()
    assert "signed by another key" in refused(tmp_path, packed(everything))
    forged = draft.envelope(OTHER)
    assert "signed by another key" in refused(tmp_path, packed(_document(draft, ATTESTATION, forged)))
    forged["signatures"][0]["keyid"] = SIGNER.key_id
    assert "does not hold" in refused(tmp_path, packed(_document(draft, ATTESTATION, forged)))
    proof = draft.proof(OTHER)
    assert "the key is for" in refused(tmp_path, packed(_document(draft, PROOF, proof)))
    proof["checkpoint"] = proof["checkpoint"].replace(OTHER.name, SIGNER.name)
    assert "not signed by the key you gave" in refused(tmp_path, packed(_document(draft, PROOF, proof)))


def test_A1_a_proof_of_another_release_is_refused(tmp_path: Path) -> None:
    """Truly signed parts of two releases do not make a third."""
    first, second = Draft(SIGNER), Draft(SIGNER, {"other.csv": b"a\n"})
    assert "approved other files" in refused(tmp_path, packed(_document(first, PROOF, second.proof())))
    mixed = [*second.members()[:1], *first.members()[1:]]
    assert "files/other.csv" in refused(tmp_path, packed(mixed))


SIGNED_LIES: list[tuple[str, Callable[[Draft], Any], str]] = [
    ("files of another digest", lambda d: d.predicate.update(filesDigest="00" * 32), "made for other files"),
    ("too few approvals", lambda d: d.predicate.update(approvals={"required": 2, "given": 1}), "fewer approvals"),
    ("no approvals", lambda d: d.predicate.update(approvals={"required": 0, "given": 0}), "fewer approvals"),
    ("odd approvals", lambda d: d.predicate.update(approvals={"required": True, "given": True}), "fewer approvals"),
    ("other approvals", lambda d: d.predicate.update(approvals={"required": 1, "given": 1}), "another number of votes"),
    ("other destination", lambda d: d.predicate.update(destination="elsewhere"), "another destination"),
    ("other policy", lambda d: d.predicate.update(policy={"profile": "lax"}), "another policy"),
    ("other request", lambda d: d.predicate.update(request=13), "another request"),
    ("other project", lambda d: d.predicate.update(project="lung"), "another request"),
    ("other kind", lambda d: setattr(d, "kind", "release.proposed"), "not the approval of a release"),
    ("unknown claim", lambda d: d.predicate.update(bonus=1), "does not have the form"),
    ("missing claim", lambda d: d.predicate.pop("tier"), "does not have the form"),
    ("other predicate", lambda d: d.statement.update(predicateType="https://tre.dev/x/v2"), "not about a release"),
    ("other statement", lambda d: d.statement.update(_type="https://in-toto.io/Statement/v2"), "not about a release"),
    ("file twice", lambda d: d.statement["subject"].append(d.statement["subject"][0]), "lists a file twice"),
    ("no files", lambda d: d.statement.update(subject={}), "lists no files"),
    ("weak digest", lambda d: d.statement["subject"][0].update(digest={"md5": "00"}), "does not have the form"),
    ("absent file", lambda d: d.statement["subject"].append(subject("files/ghost", b"")), "missing from the bundle"),
]


@pytest.mark.parametrize(("lie", "sentence"), [row[1:] for row in SIGNED_LIES], ids=[row[0] for row in SIGNED_LIES])
def test_A1_a_signed_statement_that_the_ledger_contradicts_is_refused(
    tmp_path: Path, lie: Callable[[Draft], Any], sentence: str
) -> None:
    draft = Draft(SIGNER).again()
    lie(draft)
    assert sentence in refused(tmp_path, packed(draft.members()))


def test_a_zip_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    members = Draft(SIGNER).members()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = packed([*members, ("files/figure.svg", b"other")])
        first = packed([("files/figure.svg", b"other"), *members])
    assert "stands in the bundle twice" in refused(tmp_path, raw)
    assert "stands in the bundle twice" in refused(tmp_path, first)


def test_a_zip_cut_anywhere_is_refused(tmp_path: Path) -> None:
    raw = packed(Draft(SIGNER).members())
    for length in (0, 1, 21, 22, 100, len(raw) // 2, len(raw) - 100, len(raw) - 1):
        refused(tmp_path, raw[:length])


def test_a_zip_with_bytes_before_between_or_after_is_refused(tmp_path: Path) -> None:
    raw = packed(Draft(SIGNER).members())
    assert "whole zip" in refused(tmp_path, b"#!/bin/sh\n" + raw)
    assert "whole zip" in refused(tmp_path, raw + b"more")
    with_comment = raw[:-2] + struct.pack("<H", 4) + b"more"
    assert "whole zip" in refused(tmp_path, with_comment)
    start = struct.unpack("<L", raw[-6:-2])[0]
    moved = raw[:start] + b"hidden" + raw[start:-6] + struct.pack("<L", start + 6) + raw[-2:]
    assert "whole zip" in refused(tmp_path, moved)


def test_a_zip_that_can_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    """Local headers and directory disagree: one tool would unpack another name or another file."""
    raw = packed(Draft(SIGNER).members(), zipfile.ZIP_STORED)
    other_name = raw.replace(b"files/figure.svg", b"files/figure.exe", 1)
    assert "described in two different ways" in refused(tmp_path, other_name)
    size_at = raw.index(b"files/figure.svg") - 30 + 22
    other_size = raw[:size_at] + b"\x01\x00\x00\x00" + raw[size_at + 4 :]
    assert "described in two different ways" in refused(tmp_path, other_size)


def _with_central(raw: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """Change one field of the directory's record for `name`, and the same field of its local header if it has it."""
    record = raw.rindex(name) - 46
    changed = bytearray(raw)
    changed[record + offset : record + offset + len(value)] = value
    local = raw.index(name) - 30
    if 6 <= offset < 30:
        changed[local + offset - 2 : local + offset - 2 + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize(
    ("offset", "value", "sentence"),
    [
        (8, b"\x01\x00", "not a plain file"),
        (8, b"\x08\x00", "not a plain file"),
        (10, b"\x0c\x00", "not a plain file"),
        (10, b"\x63\x00", "not a plain file"),
        (38, struct.pack("<L", 0o120777 << 16), "not a plain file"),
        (38, struct.pack("<L", 0o010600 << 16), "not a plain file"),
        (34, b"\x01\x00", "whole zip"),
        (42, b"\x00\x00\x00\x00", "whole zip"),
        (30, b"\x01\x00", "whole zip"),
        (16, b"\x00\x00\x00\x00", "damaged"),
        (10, b"\x00\x00", "damaged"),
    ],
    ids=[
        "encrypted", "with descriptor", "bzip2", "AES", "symbolic link", "pipe", "other disk", "other place",
        "extra field", "checksum", "wrong method",
    ],
)  # fmt: skip
def test_a_member_that_is_not_a_plain_file_is_refused(tmp_path: Path, offset: int, value: bytes, sentence: str) -> None:
    raw = packed(Draft(SIGNER).members())
    assert sentence in refused(tmp_path, _with_central(raw, b"files/figure.svg", offset, value))


def test_a_zip64_or_many_disk_zip_is_refused(tmp_path: Path) -> None:
    raw = packed(Draft(SIGNER).members())
    for offset, value in ((-14, b"\xff\xff"), (-18, b"\x01\x00"), (-12, b"\xff\xff"), (-10, b"\xff\xff\xff\xff")):
        changed = bytearray(raw)
        changed[offset : offset + len(value) or None] = value
        refused(tmp_path, bytes(changed))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    draft = Draft(SIGNER, {"zeros.csv": b"\x00" * 50_000_000})
    raw = packed(draft.members())
    assert len(raw) < 100_000
    assert "unpacks to more than 1000000 bytes" in refused(tmp_path, raw, max_bytes=1_000_000)


def test_a_zip_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """Declared as 1,000 bytes; unpacking stops as soon as more comes out."""
    raw = packed([("files/figure.svg", b"\x00" * 50_000_000), *Draft(SIGNER).members()[2:]])
    changed = _with_central(raw, b"files/figure.svg", 24, struct.pack("<L", 1000))
    assert "does not unpack to what the zip declares" in refused(tmp_path, changed, max_bytes=1_000_000)


def test_a_zip_with_overlapping_members_is_refused(tmp_path: Path) -> None:
    """Many directory records for the same bytes: the quoted-overlap bomb."""
    raw = packed(Draft(SIGNER).members())
    start = struct.unpack("<L", raw[-6:-2])[0]
    record = raw[start : start + 46 + struct.unpack("<H", raw[start + 28 : start + 30])[0]]
    directory = record + raw[start:-22]
    count = struct.unpack("<H", raw[-12:-10])[0] + 1
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    assert "whole zip" in refused(tmp_path, raw[:start] + directory + end)


def test_a_zip_that_claims_too_many_members_is_refused(tmp_path: Path) -> None:
    name = b"files/a"
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    directory = record * 30_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 30_000, 30_000, len(directory), len(local), 0)
    assert "more than this verifier takes" in refused(tmp_path, local + directory + end)


def test_deflated_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    draft = Draft(SIGNER)
    content = draft.files["figure.svg"]
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = engine.compress(content) + engine.flush() + b"hidden"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, raw in draft.members():
            archive.writestr(zipfile.ZipInfo(name), stream if name == "files/figure.svg" else raw)
    raw = out.getvalue()
    raw = _with_central(raw, b"files/figure.svg", 10, b"\x08\x00")
    raw = _with_central(raw, b"files/figure.svg", 16, struct.pack("<L", zlib.crc32(content)))
    raw = _with_central(raw, b"files/figure.svg", 24, struct.pack("<L", len(content)))
    assert "does not unpack to what the zip declares" in refused(tmp_path, raw)


RAW = packed(Draft(SIGNER).members())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_changed_byte_changes_what_is_verified(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Either the change is refused, or every name, content and claim is the same (clock fields, attributes)."""
    changed = bytearray(RAW)
    changed[data.draw(st.integers(0, len(RAW) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    path.write_bytes(bytes(changed))
    try:
        verdict = verify_bundle(path, SIGNER.key)
    except NotVerified:
        return
    path.write_bytes(RAW)
    assert say_bundle(verdict) == say_bundle(verify_bundle(path, SIGNER.key))
    with zipfile.ZipFile(io.BytesIO(bytes(changed))) as ours, zipfile.ZipFile(io.BytesIO(RAW)) as theirs:
        assert {name: ours.read(name) for name in ours.namelist()} == {
            name: theirs.read(name) for name in theirs.namelist()
        }
