#!/usr/bin/env python3
"""Verify a TRE's ledger export or a released bundle, with nothing but this file, Python 3.9+ and `cryptography`.

    tre_verify.py ledger EXPORT --key PUBLIC_KEY [--since KEPT] [--witness VKEY]
    tre_verify.py bundle FILE.zip --key PUBLIC_KEY

Exit code 0: verified. 1: not verified, with the reason. 2: the command could not be understood. Whatever this program
does not understand it refuses. It hashes the stored bytes of an entry and never rewrites them. Formats: RFC 8785,
RFC 6962 tree, C2SP signed-note, tlog-checkpoint and tlog-cosignature, DSSE and in-toto Statement v1, ZIP (APPNOTE 6.3).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import struct
import sys
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
except ImportError:  # pragma: no cover - depends on the outsider's machine
    sys.exit("This verifier needs the Python package 'cryptography': python3 -m pip install cryptography")


class NotVerified(Exception):  # noqa: N818 - the word people read
    """What was given does not hold; the text says what and why."""


# --- Tree (RFC 6962, 2.1) --------------------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry's exact bytes as a leaf of the tree."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: list[bytes]) -> bytes:
    """Root over the roots of complete subtrees, given from left to right, largest first."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


class Tree:
    """A tree that only grows and only remembers its frontier: the roots of its complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def extend(self, leaves: list[bytes]) -> None:
        """Add leaf hashes at the right end."""
        done = 0
        while done < len(leaves):
            left = len(leaves) - done
            aligned = self.size & -self.size if self.size else left
            width = min(aligned, 1 << (left.bit_length() - 1))
            self._push(width, complete_root(leaves[done : done + width]))
            done += width
            self.size += width

    def root(self) -> bytes:
        """Root of what is in the tree now; SHA-256 of nothing when it is empty."""
        return fold([peak for _, peak in self._peaks]) if self._peaks else hashlib.sha256().digest()

    def _push(self, width: int, peak: bytes) -> None:
        while self._peaks and self._peaks[-1][0] == width:
            peak = node_hash(self._peaks.pop()[1], peak)
            width *= 2
        self._peaks.append((width, peak))


def complete_root(level: list[bytes]) -> bytes:
    """Root over 2^k hashes."""
    sha256 = hashlib.sha256
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs)]  # noqa: B905 - 3.9
    return level[0]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> None:
    """Raise unless `proof` shows that `leaf` is number `index` (from 0) of `size` under `root`: RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        raise NotVerified(f"The inclusion proof names entry {index + 1} of {size}, which cannot be.")
    position, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise NotVerified("The inclusion proof is longer than the tree is high.")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or computed != root:
        raise NotVerified("The inclusion proof does not lead to the signed root: this entry is not in that ledger.")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> None:
    """Raise unless `proof` shows that the tree of `new` leaves continues the one of `old`: RFC 9162, 2.1.4.2."""
    broken = NotVerified("The consistency proof does not hold: the later ledger does not continue the earlier one.")
    if not 0 < old <= new:
        raise broken
    if old == new:
        if proof or old_root != new_root:
            raise broken
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise broken
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise broken
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or first != old_root or second != new_root:
        raise broken


# --- Keys and signed checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature) -------------------------------

_ED25519, _COSIGNATURE = 1, 4
_NAME = re.compile(r"[^\s+]{1,200}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_SIZE = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Key:
    """An Ed25519 public key. `name` is the signer's, or empty when the key came as PEM, which carries none."""

    raw: bytes
    name: str = ""
    algorithm: int = _ED25519

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw key, as in a bundle's signature."""
        return hashlib.sha256(self.raw).hexdigest()

    def note_hash(self, name: str) -> bytes:
        """The four bytes that name this key in a signature line."""
        return hashlib.sha256(name.encode() + b"\n" + bytes([self.algorithm]) + self.raw).digest()[:4]

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def read_key(text: str) -> Key:
    """A public key from PEM or from a C2SP `name+hash+key` line."""
    text = text.strip()
    if text.startswith("-----"):
        try:
            loaded = load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise NotVerified("The key file is not a public key in PEM form.") from None
        if not isinstance(loaded, Ed25519PublicKey):
            raise NotVerified("The public key is not an Ed25519 key.")
        return Key(loaded.public_bytes(Encoding.Raw, PublicFormat.Raw))
    parts = text.split("+", 2)
    if len(parts) == 3 and _NAME.fullmatch(parts[0]):
        blob = _base64(parts[2], "the key")
        if len(blob) == 33 and blob[0] in (_ED25519, _COSIGNATURE):
            key = Key(blob[1:], parts[0], blob[0])
            if key.note_hash(key.name).hex() == parts[1]:
                return key
    raise NotVerified("The key is neither PEM nor a 'name+hash+key' line.")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose signature held: the first `size` entries of ledger `origin` have this root."""

    origin: str
    size: int
    root: bytes
    time: str
    witnesses: tuple[str, ...] = ()


def read_checkpoint(text: str, key: Key, witnesses: Iterable[Key] = ()) -> Checkpoint:
    """Parse a checkpoint and check its signature by `key` and the cosignature of every one of `witnesses`."""
    body, separator, signatures = text.rpartition("\n\n")
    body += "\n"
    lines = body.split("\n")
    signature_lines = signatures.split("\n")
    if (
        not separator
        or len(lines) != 5
        or signature_lines[-1]
        or not all(line.startswith("\u2014 ") for line in signature_lines[:-1])
    ):
        raise NotVerified("The checkpoint does not have a checkpoint's form.")
    origin, size, root64, time = lines[:4]
    root = _base64(root64, "the checkpoint's root")
    if (
        not _NAME.fullmatch(origin)
        or not (_SIZE.fullmatch(size) or size == "0")
        or len(root) != 32
        or not time.startswith("time ")
        or not _TIME.fullmatch(time[5:])
    ):
        raise NotVerified("The checkpoint holds a line that this verifier does not understand.")
    if key.name and key.name != origin:
        raise NotVerified(f"The checkpoint is of ledger '{origin}', the key is for '{key.name}'.")
    signed = [signature_line(line) for line in signature_lines[:-1]]
    if not any(_line_holds(key, origin, name, blob, body) for name, blob in signed):
        raise NotVerified("The checkpoint is not signed by the key you gave.")
    seen = []
    for witness in witnesses:
        if not any(_line_holds(witness, witness.name, name, blob, body) for name, blob in signed):
            raise NotVerified(f"Witness '{witness.name}' did not sign this checkpoint.")
        seen.append(witness.name)
    return Checkpoint(origin, int(size), root, time[5:], tuple(seen))


def signature_line(line: str) -> tuple[str, bytes]:
    """Name and signature of one line under a checkpoint."""
    name, _, blob = line[2:].partition(" ")
    return name, _base64(blob, "a signature of the checkpoint")


def _line_holds(key: Key, expected_name: str, name: str, blob: bytes, body: str) -> bool:
    if name != expected_name or blob[:4] != key.note_hash(name):
        return False
    if key.algorithm == _COSIGNATURE:
        if len(blob) != 4 + 8 + 64:
            return False
        moment = int.from_bytes(blob[4:12], "big")
        return key.signed(f"cosignature/v1\ntime {moment}\n{body}".encode(), blob[12:])
    return len(blob) == 4 + 64 and key.signed(body.encode(), blob[4:])


def _base64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotVerified(f"The base64 of {what} is damaged.") from None
    if base64.b64encode(raw).decode() != text:
        raise NotVerified(f"The base64 of {what} is not in its one right form.")
    return raw


# --- JSON: strict (no duplicate keys, no floating point) and canonical (RFC 8785) ------------------------------------

_SAFE_INTEGER = 2**53 - 1
_MAX_DEPTH = 32


def _no_number(text: str) -> Any:
    raise ValueError(f"the number {text}")


_pairs = json.JSONDecoder(object_pairs_hook=tuple, parse_float=_no_number, parse_constant=_no_number)


def _plain(value: Any) -> Any:
    """Pairs as a dict, refusing a key that stands twice and what is not text."""
    if isinstance(value, tuple):
        result = {_plain(key): _plain(item) for key, item in value}
        if len(result) != len(value):
            raise ValueError("a key that stands twice")
        return result
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair is not text
    return value


def strict_json(raw: bytes, what: str) -> Any:
    """The value of JSON bytes; raises for whatever two readers could understand differently."""
    try:
        return _plain(_pairs.decode(raw.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise NotVerified(f"{what} is not JSON that everybody reads the same way ({error}).") from None


def canonical_json(raw: bytes, what: str) -> Any:
    """The value of canonical JSON bytes (RFC 8785, whole numbers only); raises when any byte could stand otherwise."""
    value = strict_json(raw, what)
    try:
        same = _encode(_ordered(value, 0)).encode() == raw
    except ValueError as error:
        raise NotVerified(f"{what} is not canonical JSON ({error}).") from None
    if not same:
        raise NotVerified(f"{what} is not in its one right form, canonical JSON.")
    return value


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def _ordered(value: Any, depth: int) -> Any:
    """`value` with the keys of its objects in canonical order: that of their UTF-16 code units."""
    if isinstance(value, (dict, list)) and depth >= _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: _ordered(value[key], depth + 1) for key in keys}
    if isinstance(value, list):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) > _SAFE_INTEGER:
        raise ValueError("a number that is not exact in every reader")
    return value


def _object(value: Any, keys: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != keys:
        found = ", ".join(sorted(set(value) ^ keys)) if isinstance(value, dict) else "not an object"
        raise NotVerified(f"{what} does not have the form this verifier understands ({found}).")
    return value


def _line_object(line: bytes, keys: set[str], what: str) -> dict[str, Any]:
    """The object of a whole line in its one right form, so that no byte of it can differ unnoticed."""
    if line[-1:] != b"\n":
        raise NotVerified(f"{what} is not JSON that everybody reads the same way (it has no end): it was cut off.")
    return _object(canonical_json(line[:-1], what), keys, what)


# --- Ledger export ---------------------------------------------------------------------------------------------------

_LINE_MAX = 4 * 1024 * 1024
_BATCH = 1024
_ENTRY_KEYS = ("actor", "at", "body", "facts", "kind", "prev", "seq", "subject", "v")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_TEXT = r'"[^"\\\x00-\x1f]*"'
_VALUE = rf"(?:{_TEXT}|0|-?[1-9][0-9]{{0,14}}|true|false|null)"
_FACT = rf'"[ !#-\[\]-~]*":{_VALUE}'
_PLAIN_ENTRY = re.compile(
    r'\{"actor":\{"id":"[^"\\\x00-\x1f]+","kind":"(?:person|software|console)"\},'
    rf'"at":"{_TIME.pattern}","body":(?:null|"([0-9a-f]{{64}})"),"facts":\{{((?:{_FACT}(?:,{_FACT})*)?)\}},'
    r'"kind":"[^"\\\x00-\x1f]+","prev":"([0-9a-f]{64})","seq":([1-9][0-9]{0,14}),'
    r'"subject":"[^"\\\x00-\x1f]+","v":1\}'
)
"""An entry with plain facts: no escapes, no nesting, short numbers, ASCII keys. What matches is canonical when its keys
are in order; what does not match is parsed whole and written again, or refused."""
_FACT_KEY = re.compile(r'"([^"]*)":')


@dataclass(frozen=True)
class LedgerVerdict:
    """What held: all `size` entries under the signed checkpoint; `roots` at the sizes that were asked for."""

    checkpoint: Checkpoint
    since: Checkpoint | None
    bodies: int
    roots: dict[int, bytes]


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of an export, each bounded in length."""
    return iter(partial(file.readline, _LINE_MAX), b"")


def verify_export(
    lines: Iterator[bytes],
    key: Key,
    since: Checkpoint | None = None,
    witnesses: Iterable[Key] = (),
    roots_at: Iterable[int] = (),
) -> LedgerVerdict:
    """Verify a whole export; raises `NotVerified` at the first thing that does not hold.

    With `since`, an earlier checkpoint from anywhere, also that the ledger was neither rewritten nor cut off since.
    """
    header = _line_object(next(lines, b""), {"export", "origin", "v"}, "The first line")
    if header["export"] != "tre-ledger" or type(header["v"]) is not int or header["v"] != 1:
        raise NotVerified("This is not a ledger export of version 1.")
    wanted = set(roots_at) | ({since.size} if since else set())
    reader = EntryReader(lines, wanted)
    ending = reader.run()
    text = _line_object(ending, {"checkpoint"}, f"The line after entry {reader.tree.size}")["checkpoint"]
    if not isinstance(text, str):
        raise NotVerified("The export's checkpoint is not text.")
    if next(lines, b""):
        raise NotVerified("Something stands after the export's checkpoint.")
    checkpoint = read_checkpoint(text, key, witnesses)
    if header["origin"] != checkpoint.origin:
        raise NotVerified("The export names another ledger than its checkpoint does.")
    if checkpoint.size != reader.tree.size:
        raise NotVerified(
            f"The checkpoint of {checkpoint.time} covers {checkpoint.size} entries, the export holds "
            f"{reader.tree.size}: entries were cut off or added."
        )
    if checkpoint.root != reader.tree.root():
        raise NotVerified("The entries do not have the root that was signed: an entry was changed.")
    if since is not None:
        check_continues(since, checkpoint, reader.roots)
    return LedgerVerdict(checkpoint, since, reader.bodies, reader.roots)


def check_continues(since: Checkpoint, checkpoint: Checkpoint, roots: dict[int, bytes]) -> None:
    """Raise unless the entries under `checkpoint`, with these `roots` at their sizes, continue those under `since`."""
    if since.origin != checkpoint.origin:
        raise NotVerified(f"Your checkpoint is of ledger '{since.origin}', the export of '{checkpoint.origin}'.")
    if since.size > checkpoint.size:
        raise NotVerified(
            f"Your checkpoint of {since.time} covers {since.size} entries, the export only {checkpoint.size}: "
            "entries were cut off or the ledger was rolled back."
        )
    if roots[since.size] != since.root:
        raise NotVerified(
            f"The first {since.size} entries are not those of your checkpoint of {since.time}: history was rewritten."
        )


class EntryReader:
    """Reads entry and body lines up to the first other line, hashing each entry as it stands.

    `roots` holds the root at each of the sizes in `roots_at` that the entries reach; `bodies` counts the opened texts.
    """

    def __init__(self, lines: Iterator[bytes], roots_at: set[int]) -> None:
        self.tree = Tree()
        self.roots: dict[int, bytes] = {}
        self.bodies = 0
        self._lines = lines
        self._stops = sorted(roots_at, reverse=True)
        self._commitment: str | None = None
        self._leaves: list[bytes] = []

    def run(self) -> bytes:
        """The line after the last entry."""
        self._grow()
        plain_form, keys_of, sha256 = _PLAIN_ENTRY.fullmatch, _FACT_KEY.findall, hashlib.sha256
        leaves, seq, prev = self._leaves, 1, "0" * 64
        for line in self._lines:
            stored = line[:-1]
            try:
                plain = plain_form(stored.decode())
            except ValueError:
                raise NotVerified(f"The line for entry {seq} is not JSON that everybody reads the same way.") from None
            keys = keys_of(plain[2]) if plain else []
            if plain and sorted(set(keys)) == keys:
                self._commitment, said_prev, said_seq = plain[1], plain[3], plain[4]
            elif line.startswith(b'{"actor"'):
                entry = _read_entry(stored, f"Entry {seq}")
                self._commitment, said_prev, said_seq = entry["body"], entry["prev"], str(entry["seq"])
            elif self._is_body(line, seq - 1):
                continue
            else:
                self._grow()
                return line
            if said_seq != str(seq) or said_prev != prev:
                raise _out_of_order(seq, said_seq)
            if line[-1] != 10:
                raise NotVerified(f"The export ends in the middle of entry {seq}: it was cut off.")
            leaf = sha256(b"\x00" + stored).digest()
            leaves.append(leaf)
            prev = leaf.hex()
            if not seq % _BATCH:
                self._grow()
            seq += 1
        raise NotVerified(f"The export ends after entry {seq - 1} without a checkpoint: it was cut off.")

    def _grow(self) -> None:
        """Put the waiting leaves into the tree, stopping at the sizes whose root is wanted."""
        while self._stops and self._stops[-1] <= self.tree.size + len(self._leaves):
            stop = self._stops.pop()
            count = stop - self.tree.size
            self.tree.extend(self._leaves[:count])
            del self._leaves[:count]
            self.roots[stop] = self.tree.root()
        self.tree.extend(self._leaves)
        self._leaves.clear()

    def _is_body(self, line: bytes, seq: int) -> bool:
        if not line.startswith(b'{"body"'):
            return False
        opened = _line_object(line, {"body", "salt", "seq"}, f"The text after entry {seq}")
        body, salt = opened["body"], opened["salt"]
        if (
            type(opened["seq"]) is not int
            or opened["seq"] != seq
            or not isinstance(body, str)
            or not isinstance(salt, str)
            or not _HEX64.fullmatch(salt)
        ):
            raise NotVerified(f"The text after entry {seq} does not belong to it.")
        if hashlib.sha256(bytes.fromhex(salt) + body.encode()).hexdigest() != self._commitment:
            raise NotVerified(f"The text of entry {seq} is not the one that was recorded.")
        canonical_json(body.encode(), f"The text of entry {seq}")
        self._commitment = None
        self.bodies += 1
        return True


def _read_entry(stored: bytes, what: str) -> dict[str, Any]:
    """An entry of any facts, once it has the form of version 1 and its one right bytes."""
    entry = _object(canonical_json(stored, what), set(_ENTRY_KEYS), what)
    actor = _object(entry["actor"], {"id", "kind"}, f"{what}: its actor")
    body = entry["body"]
    texts = (entry["at"], entry["kind"], entry["prev"], entry["subject"], actor["id"], "" if body is None else body)
    if (
        not all(isinstance(text, str) for text in texts)
        or not _TIME.fullmatch(entry["at"])
        or not (body is None or _HEX64.fullmatch(body))
        or not isinstance(entry["facts"], dict)
        or actor["kind"] not in ("person", "software", "console")
        or type(entry["seq"]) is not int
        or type(entry["v"]) is not int
        or entry["v"] != 1
    ):
        raise NotVerified(f"{what} does not have the form of a version 1 entry.")
    return entry


def _out_of_order(seq: int, said_seq: str) -> NotVerified:
    if said_seq != str(seq):
        return NotVerified(f"Entry {seq} should come here, but the line is entry {said_seq}: one is missing or moved.")
    return NotVerified(f"Entry {seq} does not follow entry {seq - 1} as it stands here: one of them was changed.")


# --- Bundle ----------------------------------------------------------------------------------------------------------

CRATE, ATTESTATION, PROOF, FILES = "ro-crate-metadata.json", "attestation.dsse.json", "ledger-proof.json", "files/"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://tre.dev/attestations/release/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_KEYS = frozenset(
    (
        "request", "project", "tier", "policy", "destination", "requestedBy",
        "approvals", "datasets", "checks", "filesDigest",
    )
)  # fmt: skip
_META_MAX = 64 * 1024 * 1024
_MEMBERS_MAX = 20_000
DEFAULT_MAX_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class BundleVerdict:
    """What held: these files, approved in this entry of the ledger under this checkpoint."""

    predicate: dict[str, Any]
    files: int
    bytes: int
    seq: int
    checkpoint: Checkpoint


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def files_digest(files: Iterable[tuple[str, str, int]]) -> str:
    """SHA-256 of the RFC 8785 JSON of [{"path", "sha256", "size"}] by path; paths without the leading `files/`."""
    rows = [{"path": path, "sha256": sha, "size": size} for path, sha, size in sorted(files)]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def verify_bundle(path: Path, key: Key, max_bytes: int = DEFAULT_MAX_BYTES) -> BundleVerdict:
    """Verify a released bundle: every byte in it is covered by the signature and by the approval in the ledger."""
    with path.open("rb") as file:
        members = read_zip(file, max_bytes)
        statement = _attested(file, members, key)
        hashes = {
            name: hash_member(file, member) for name, member in members.items() if name not in (ATTESTATION, PROOF)
        }
        proof = strict_json(read_member(file, members, PROOF), PROOF)
    _same_subjects(statement["subject"], hashes)
    predicate = _object(statement["predicate"], set(PREDICATE_KEYS), "The attestation's predicate")
    approvals = _object(predicate["approvals"], {"required", "given"}, "The attestation's approvals")
    if (
        not all(type(count) is int for count in approvals.values())
        or not 0 < approvals["required"] <= approvals["given"]
    ):
        raise NotVerified("The attestation names fewer approvals than the policy requires.")
    files = [(name[len(FILES) :], hashes[name], members[name].size) for name in hashes if name.startswith(FILES)]
    if predicate["filesDigest"] != files_digest(files):
        raise NotVerified("The attestation was made for other files than those in the bundle.")
    checkpoint, entry = _proven(proof, key)
    _same_approval(entry, predicate)
    return BundleVerdict(predicate, len(files), sum(size for _, _, size in files), entry["seq"], checkpoint)


def _attested(file: BinaryIO, members: dict[str, Member], key: Key) -> dict[str, Any]:
    """The statement inside the envelope, once its signature by `key` held."""
    envelope = _object(
        strict_json(read_member(file, members, ATTESTATION), ATTESTATION),
        {"payloadType", "payload", "signatures"},
        ATTESTATION,
    )
    if envelope["payloadType"] != PAYLOAD_TYPE or not isinstance(envelope["payload"], str):
        raise NotVerified("The attestation is not an in-toto statement.")
    payload = _base64(envelope["payload"], "the attestation")
    message = pae(PAYLOAD_TYPE, payload)
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise NotVerified("The attestation must carry exactly one signature.")
    signature = _object(signatures[0], {"keyid", "sig"}, "The attestation's signature")
    if not isinstance(signature["sig"], str) or signature["keyid"] != key.key_id:
        raise NotVerified("The attestation is signed by another key than the one you gave.")
    if not key.signed(message, _base64(signature["sig"], "the attestation's signature")):
        raise NotVerified("The attestation's signature does not hold: it was changed after signing.")
    statement = _object(
        strict_json(payload, "The attestation"), {"_type", "subject", "predicateType", "predicate"}, "The attestation"
    )
    if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
        raise NotVerified("The attestation is not about a release of the version this verifier understands.")
    return statement


def _same_subjects(subjects: Any, hashes: dict[str, str]) -> None:
    """Every member is attested with its hash, and every attested member is there."""
    attested: dict[str, str] = {}
    if not isinstance(subjects, list):
        raise NotVerified("The attestation lists no files.")
    for subject in subjects:
        name = _object(subject, {"name", "digest"}, "A file in the attestation")["name"]
        digest = _object(subject["digest"], {"sha256"}, "A digest in the attestation")["sha256"]
        if not isinstance(name, str) or not isinstance(digest, str) or name in attested:
            raise NotVerified("The attestation lists a file twice or without a proper name.")
        attested[name] = digest
    for name in sorted(hashes.keys() | attested.keys()):
        if name not in attested:
            raise NotVerified(f"'{name}' is in the bundle, but nobody attested it.")
        if name not in hashes:
            raise NotVerified(f"'{name}' is attested, but missing from the bundle.")
        if attested[name] != hashes[name]:
            raise NotVerified(f"'{name}' is not the file that was attested: its bytes differ.")


def _proven(proof: Any, key: Key) -> tuple[Checkpoint, dict[str, Any]]:
    """The checkpoint and the entry that its root was shown to hold."""
    _object(proof, {"entry", "index", "size", "proof", "checkpoint"}, PROOF)
    index, size, hashes = proof["index"], proof["size"], proof["proof"]
    if (
        type(index) is not int
        or type(size) is not int
        or not isinstance(proof["entry"], str)
        or not isinstance(proof["checkpoint"], str)
        or not isinstance(hashes, list)
        or not all(isinstance(one, str) and _HEX64.fullmatch(one) for one in hashes)
    ):
        raise NotVerified(f"{PROOF} does not have the form this verifier understands.")
    raw = _base64(proof["entry"], "the ledger entry")
    entry = _read_entry(raw, "The ledger entry")
    checkpoint = read_checkpoint(proof["checkpoint"], key)
    if entry["seq"] != index + 1 or checkpoint.size != size:
        raise NotVerified("The inclusion proof, its ledger entry and its checkpoint do not belong together.")
    verify_inclusion(leaf_hash(raw), index, size, [bytes.fromhex(one) for one in hashes], checkpoint.root)
    return checkpoint, entry


def _same_approval(entry: dict[str, Any], predicate: dict[str, Any]) -> None:
    """The ledger approved what the attestation says, not something else."""
    facts = entry["facts"]
    if entry["kind"] != "release.approved":
        raise NotVerified("The ledger entry in the bundle is not the approval of a release.")
    if entry["subject"] != f"request/{predicate['project']}/{predicate['request']}":
        raise NotVerified("The ledger approved another request than the attestation is about.")
    for fact, said, what in (
        ("files_digest", predicate["filesDigest"], "other files"),
        ("policy", predicate["policy"], "another policy"),
        ("destination", predicate["destination"], "another destination"),
        ("approvals", predicate["approvals"], "on another number of votes"),
    ):
        if facts.get(fact) != said:
            raise NotVerified(f"The ledger approved {what} than the attestation says.")


# --- ZIP, read strictly: one layout, no second reading possible ------------------------------------------------------

_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")
_UTF8_FLAG, _STORED, _DEFLATED = 0x800, 0, 8
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')


@dataclass(frozen=True)
class Member:
    """Where one file lies in the zip."""

    name: str
    start: int
    stored: int
    size: int
    method: int
    crc: int


def read_zip(file: BinaryIO, max_bytes: int) -> dict[str, Member]:
    """The members of a zip whose every byte is accounted for: local headers and directory agree, nothing in between."""
    damaged = NotVerified("The bundle is not a whole zip file in the form this verifier accepts.")
    length = file.seek(0, 2)
    if length < _END.size:
        raise damaged
    file.seek(length - _END.size)
    mark, disk, cd_disk, here, count, cd_size, cd_start, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\x05\x06" or disk or cd_disk or here != count or comment or cd_start + cd_size + _END.size != length:
        raise damaged
    if count > _MEMBERS_MAX or cd_size > _META_MAX:
        raise NotVerified(f"The bundle claims {count} files, more than this verifier takes.")
    file.seek(cd_start)
    directory = file.read(cd_size)
    members: dict[str, Member] = {}
    folded: set[str] = set()
    total = at = offset = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise damaged
        fields = _CENTRAL.unpack_from(directory, at)
        mark, _made, needed, flags, method, clock, day, crc, stored, size, n_name, n_extra, n_comment = fields[:13]
        first_disk, _inner, outer, where = fields[13:]
        raw_name = directory[at + _CENTRAL.size : at + _CENTRAL.size + n_name]
        at += _CENTRAL.size + n_name
        if mark != b"PK\x01\x02" or n_extra or n_comment or first_disk or where != offset or len(raw_name) != n_name:
            raise damaged
        name = _member_name(raw_name, flags)
        if outer >> 28 not in (0, 8) or method not in (_STORED, _DEFLATED) or flags & ~_UTF8_FLAG:
            raise NotVerified(f"'{name}' is not a plain file, or packed in a way this verifier does not understand.")
        file.seek(offset)
        local = file.read(_LOCAL.size + n_name)
        expected = (
            _LOCAL.pack(b"PK\x03\x04", needed, flags, method, clock, day, crc, stored, size, n_name, 0) + raw_name
        )
        if local != expected:
            raise NotVerified(f"'{name}' is described in two different ways inside the zip.")
        same = unicodedata.normalize("NFC", name).casefold()
        if same in folded:
            raise NotVerified(f"'{name}' stands in the bundle twice.")
        folded.add(same)
        members[name] = Member(name, offset + len(local), stored, size, method, crc)
        offset += len(local) + stored
        total += size
        if total > max_bytes:
            raise NotVerified(
                f"The bundle unpacks to more than {max_bytes} bytes. If that is right, raise --max-bytes."
            )
    if at != len(directory) or offset != cd_start:
        raise damaged
    return members


def _member_name(raw: bytes, flags: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8_FLAG else "ascii")
    except UnicodeDecodeError:
        raise NotVerified("A file name in the bundle is not text.") from None
    parts = name.split("/")
    known = name in (CRATE, ATTESTATION, PROOF) or (name.startswith(FILES) and len(parts) > 1)
    if not known or _FORBIDDEN.search(name) or any(part.strip(". ") == "" for part in parts):
        raise NotVerified(f"The bundle holds {name!r}, which has no place in a bundle.")
    return name


def _unpack(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The member's bytes in pieces; raises unless size, checksum and end are exactly as declared."""
    broken = NotVerified(f"'{member.name}' is damaged: it does not unpack to what the zip declares.")
    file.seek(member.start)
    left, done, crc = member.stored, 0, 0
    engine = zlib.decompressobj(-15) if member.method == _DEFLATED else None
    while left:
        packed = file.read(min(left, 1 << 18))
        if not packed:
            raise broken
        left -= len(packed)
        while True:
            try:
                piece = engine.decompress(packed, 1 << 20) if engine else packed
            except zlib.error:
                raise broken from None
            packed = engine.unconsumed_tail if engine else b""
            done += len(piece)
            if done > member.size or (engine and engine.unused_data):
                raise broken
            if not piece:  # with an output limit, only no output at all says that nothing is held back
                break
            crc = zlib.crc32(piece, crc)
            yield piece
    if done != member.size or crc != member.crc or (engine and not engine.eof):
        raise broken


def hash_member(file: BinaryIO, member: Member) -> str:
    """SHA-256 of the member's bytes."""
    digest = hashlib.sha256()
    for piece in _unpack(file, member):
        digest.update(piece)
    return digest.hexdigest()


def read_member(file: BinaryIO, members: dict[str, Member], name: str) -> bytes:
    """The bytes of one of the bundle's own documents."""
    member = members.get(name)
    if member is None:
        raise NotVerified(f"The bundle has no {name}.")
    if member.size > _META_MAX:
        raise NotVerified(f"{name} is larger than any bundle needs.")
    return b"".join(_unpack(file, member))


# --- What somebody kept from before -----------------------------------------------------------------------------------


def kept_checkpoint(path: Path, key: Key) -> Checkpoint:
    """The signed checkpoint in a file that was kept: a checkpoint, a released bundle, or an export."""
    with path.open("rb") as file:
        start = file.read(10)
        file.seek(0)
        if start.startswith(b"PK"):
            proof = strict_json(read_member(file, read_zip(file, DEFAULT_MAX_BYTES), PROOF), PROOF)
            text = proof.get("checkpoint") if isinstance(proof, dict) else None
        elif start.startswith(b'{"export"'):
            last = b""
            for line in read_lines(file):
                last = line
            text = _line_object(last, {"checkpoint"}, f"The last line of {path.name}")["checkpoint"]
        else:
            text = file.read(_LINE_MAX).decode("utf-8")
    if not isinstance(text, str):
        raise NotVerified(f"{path.name} holds no checkpoint.")
    return read_checkpoint(text, key)


# --- Command line ----------------------------------------------------------------------------------------------------


def say_ledger(verdict: LedgerVerdict) -> str:
    """The verdict on an export in words."""
    checkpoint = verdict.checkpoint
    text = (
        f"Verified: all {checkpoint.size} entries of ledger {checkpoint.origin}, as signed on {checkpoint.time}.\n"
        f"Root: {checkpoint.root.hex()}\n"
    )
    if verdict.bodies:
        text += f"{verdict.bodies} texts were opened; each is the one that was recorded.\n"
    if checkpoint.witnesses:
        text += f"Seen and signed by: {', '.join(checkpoint.witnesses)}.\n"
    if verdict.since:
        return text + f"It continues your checkpoint of {verdict.since.time} ({verdict.since.size} entries).\n"
    return text + (
        "Nothing was compared with an earlier state: give --since with a checkpoint, bundle or export you kept, "
        "to learn whether the past was rewritten or cut off.\n"
    )


def say_bundle(verdict: BundleVerdict) -> str:
    """The verdict on a bundle in words."""
    said, policy = verdict.predicate, verdict.predicate["policy"]
    return (
        f"Verified: {verdict.files} files, {verdict.bytes} bytes, released from project {said['project']}, "
        f"request {said['request']}, to {said['destination']}.\n"
        f"Approved by {said['approvals']['given']} people under policy {json.dumps(policy, sort_keys=True)}.\n"
        f"Entry {verdict.seq} of ledger {verdict.checkpoint.origin}, in the checkpoint of {verdict.checkpoint.time} "
        f"({verdict.checkpoint.size} entries).\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tre_verify.py", description="Verify what a TRE gave out.")
    commands = parser.add_subparsers(dest="command", required=True)
    ledger = commands.add_parser("ledger", help="a ledger export")
    ledger.add_argument("file", type=Path)
    ledger.add_argument("--key", type=Path, required=True, help="file with the TRE's public key")
    ledger.add_argument("--since", type=Path, help="what you kept from before: a checkpoint, a bundle or an export")
    ledger.add_argument(
        "--witness", action="append", default=[], help="name+hash+key of a witness that must have signed"
    )
    bundle = commands.add_parser("bundle", help="a released bundle (zip)")
    bundle.add_argument("file", type=Path)
    bundle.add_argument("--key", type=Path, required=True, help="file with the TRE's public key")
    bundle.add_argument("--max-bytes", type=int, default=DEFAULT_MAX_BYTES)
    given = parser.parse_args(arguments)
    try:
        key = read_key(given.key.read_text(encoding="utf-8"))
        if given.command == "bundle":
            said = say_bundle(verify_bundle(given.file, key, given.max_bytes))
        else:
            since = kept_checkpoint(given.since, key) if given.since else None
            witnesses = [read_key(line) for line in given.witness]
            with given.file.open("rb") as file:
                said = say_ledger(verify_export(read_lines(file), key, since, witnesses))
    except (OSError, UnicodeDecodeError) as error:
        print(f"NOT VERIFIED: a file cannot be read ({error}).", file=sys.stderr)
        return 1
    except NotVerified as error:
        print("NOT VERIFIED:", str(error).encode("ascii", "backslashreplace").decode(), file=sys.stderr)
        return 1
    sys.stdout.write(said.encode("ascii", "backslashreplace").decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
