"""Checkpoints sign committed entries only, never contradict the last one, and carry witnesses' signatures."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import text

from tests.ledger.conftest import fill
from tre_orchestrator.errors import Invalid, NotFound, Unavailable
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.checkpoints import add_cosignature, checkpoint_at, latest_checkpoint, make_checkpoint
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.guards import KEYS, guard_triggers
from tre_orchestrator.ledger.keys import Signer, load_or_create_signer, load_signer
from tre_orchestrator.ledger.tre_verify import NotVerified, read_checkpoint, read_key


@pytest.fixture
def signer(state_dir: Path) -> Signer:
    return load_or_create_signer(state_dir / "keys")


def checkpoint(db: Database, signer: Signer, now: dt.datetime):  # type: ignore[no-untyped-def]
    with db.write() as session:
        return make_checkpoint(session, signer, now)


def test_a_checkpoint_is_a_c2sp_signed_note(db: Database, signer: Signer, now: dt.datetime) -> None:
    fill(db, 5)
    made = checkpoint(db, signer, now)
    body, signature = made.text.split("\n\n")
    assert body.split("\n") == [
        signer.name,
        "5",
        base64.b64encode(made.root).decode(),
        "time 2026-11-23T09:00:00.000000Z",
    ]
    dash, name, blob = signature.rstrip("\n").split(" ")
    raw = base64.b64decode(blob)
    assert (dash, name) == ("\u2014", signer.name)
    assert raw[:4] == hashlib.sha256(signer.name.encode() + b"\n\x01" + signer.public_raw).digest()[:4]
    assert read_key(signer.public_pem).signed(f"{body}\n".encode(), raw[4:])
    for key in (signer.public_pem, signer.verifier_key):
        held = read_checkpoint(made.text, read_key(key))
        assert (held.origin, held.size, held.root) == (signer.name, 5, made.root)


def test_an_empty_ledger_can_be_signed(db: Database, signer: Signer, now: dt.datetime) -> None:
    made = checkpoint(db, signer, now)
    assert (made.size, made.root) == (0, hashlib.sha256().digest())
    assert read_checkpoint(made.text, signer.key).size == 0


def test_without_new_entries_the_latest_checkpoint_stands(db: Database, signer: Signer, now: dt.datetime) -> None:
    fill(db, 3)
    first = checkpoint(db, signer, now)
    assert checkpoint(db, signer, now + dt.timedelta(hours=1)) == first
    fill(db, 1, 3)
    second = checkpoint(db, signer, now)
    with db.read() as session:
        assert latest_checkpoint(session) == second
        assert checkpoint_at(session, 3) == first
        with pytest.raises(NotFound):
            checkpoint_at(session, 2)


def test_an_entry_that_is_not_committed_is_never_signed(db: Database, signer: Signer, now: dt.datetime) -> None:
    fill(db, 2)

    def sign_before_commit() -> None:
        with db.write() as session:
            append(session, "release.approved", person("anna"), "request/heart/1", now=now)
            make_checkpoint(session, signer, now)

    with pytest.raises(RuntimeError, match="committed entries only"):
        sign_before_commit()
    with db.read() as session, pytest.raises(RuntimeError, match="committed entries only"):
        make_checkpoint(session, signer, now)
    assert checkpoint(db, signer, now).size == 2


def test_append_after_commit_may_be_signed_by_the_same_session(db: Database, signer: Signer, now: dt.datetime) -> None:
    with db.write() as session:
        append(session, "test.made", person("anna"), "x", now=now)
        session.commit()
        assert make_checkpoint(session, signer, now).size == 1
        session.commit()
        append(session, "test.made", person("anna"), "x", now=now)
        session.commit()
        assert make_checkpoint(session, signer, now).size == 2


TAMPERING = {
    "entry in a kept subtree's last part": "UPDATE ledger_entries SET entry = 'x' WHERE seq = 298",
    "entry since the last checkpoint": "UPDATE ledger_entries SET entry = 'x' WHERE seq = 305",
    "leaf under the last checkpoint": "UPDATE ledger_entries SET leaf = prev WHERE seq = 299",
    "tail cut off": "DELETE FROM ledger_entries WHERE seq > 302",
    "rolled back": "UPDATE ledger_head SET seq = 290",
    "other head": "UPDATE ledger_head SET leaf = (SELECT leaf FROM ledger_entries WHERE seq = 1)",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_R2_a_ledger_that_contradicts_itself_is_not_signed(
    db: Database, signer: Signer, now: dt.datetime, statement: str
) -> None:
    fill(db, 300)
    checkpoint(db, signer, now)
    fill(db, 10, 300)
    unguard(db)
    with db.engine.begin() as connection:
        connection.execute(text("DELETE FROM ledger_bodies"))
        connection.execute(text(statement))
    with pytest.raises(Unavailable, match="contradicts itself"):
        checkpoint(db, signer, now)


def unguard(db: Database) -> None:
    """What an attacker who owns the database does first."""
    with db.engine.begin() as connection:
        if db.is_sqlite:
            for name in (
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            ):
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            for table in KEYS:
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


def guard_again(db: Database) -> None:
    """What an attacker who owns the database does last."""
    with db.engine.begin() as connection:
        for table in KEYS:
            for trigger in guard_triggers(table, db.engine.dialect.name):
                if db.is_sqlite:
                    connection.exec_driver_sql(trigger.statement)
                else:
                    connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger.name}")


def test_another_key_does_not_continue_the_ledger(db: Database, signer: Signer, now: dt.datetime) -> None:
    fill(db, 1)
    checkpoint(db, signer, now)
    with pytest.raises(Unavailable, match="not signed by this machine's key"):
        checkpoint(db, Signer(Ed25519PrivateKey.generate()), now)


class Witness:
    """Another organisation's witness (C2SP tlog-cosignature)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._private = Ed25519PrivateKey.generate()
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._id = hashlib.sha256(name.encode() + b"\n\x04" + raw).digest()[:4]
        self.key = f"{name}+{self._id.hex()}+{base64.b64encode(bytes([4]) + raw).decode()}"

    def cosign(self, text: str, moment: int = 1_800_000_000) -> str:
        body = text.split("\n\n")[0] + "\n"
        signature = self._private.sign(f"cosignature/v1\ntime {moment}\n{body}".encode())
        blob = base64.b64encode(self._id + moment.to_bytes(8, "big") + signature).decode()
        return f"\u2014 {self.name} {blob}\n"


def test_a_witness_can_add_its_signature(db: Database, signer: Signer, now: dt.datetime) -> None:
    fill(db, 4)
    made = checkpoint(db, signer, now)
    first, second = Witness("witness.example.org/a"), Witness("witness.example.net")
    for witness in (first, second, first):
        with db.write() as session:
            add_cosignature(session, signer, 4, witness.cosign(made.text), witness.key, now)
    with db.read() as session:
        signed = latest_checkpoint(session)
    assert signed is not None
    assert signed.text.count("\u2014 ") == 3
    held = read_checkpoint(signed.text, signer.key, [read_key(first.key), read_key(second.key)])
    assert held.witnesses == (first.name, second.name)
    with pytest.raises(NotVerified, match="did not sign"):
        read_checkpoint(made.text, signer.key, [read_key(first.key)])


def test_a_witness_cannot_add_anything_else(db: Database, signer: Signer, now: dt.datetime) -> None:
    fill(db, 4)
    made = checkpoint(db, signer, now)
    witness, other = Witness("witness.example.org"), Witness("witness.example.org")
    good = witness.cosign(made.text)
    for line, key in (
        (good, other.key),
        (witness.cosign(made.text.replace("4\n", "5\n")), witness.key),
        (good + good, witness.key),
        ("no signature", witness.key),
        (good, signer.verifier_key),
        (good, signer.public_pem),
        (good[:-5] + "\n", witness.key),
    ):
        with pytest.raises(Invalid), db.write() as session:
            add_cosignature(session, signer, 4, line, key, now)
    with db.read() as session:
        assert latest_checkpoint(session) == made


def test_the_key_is_made_once_and_private(state_dir: Path) -> None:
    keys = state_dir / "keys"
    with ThreadPoolExecutor(8) as pool:
        made = {signer.key_id for signer in pool.map(lambda _: load_or_create_signer(keys), range(16))}
    assert len(made) == 1
    assert [path.name for path in keys.iterdir()] == ["ledger.pem"]
    assert stat.S_IMODE((keys / "ledger.pem").stat().st_mode) == 0o600


def test_P5_a_missing_open_or_damaged_key_stops_with_the_reason(state_dir: Path) -> None:
    keys = state_dir / "keys"
    with pytest.raises(Unavailable, match="cannot be read"):
        load_signer(keys)
    load_or_create_signer(keys)
    path = keys / "ledger.pem"
    os.chmod(path, 0o640)
    with pytest.raises(Unavailable, match="chmod 600"):
        load_or_create_signer(keys)
    os.chmod(path, 0o600)
    elliptic = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"not a key", elliptic):
        path.write_bytes(content)
        with pytest.raises(Unavailable, match="damaged"):
            load_or_create_signer(keys)


@pytest.mark.parametrize("damage", ["", "x", "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", "a+b+c"])
def test_what_is_not_a_public_key_is_refused(damage: str) -> None:
    with pytest.raises(NotVerified):
        read_key(damage)


def test_a_public_key_line_with_another_name_or_kind_is_refused() -> None:
    signer = Signer(Ed25519PrivateKey.generate())
    name, mark, blob = signer.verifier_key.split("+", 2)
    kind = base64.b64encode(b"\x02" + signer.public_raw).decode()
    elliptic = generate_private_key(SECP256R1()).public_key()
    pem = elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for line in (f"other+{mark}+{blob}", f"{name}+00000000+{blob}", f"{name}+{mark}+{kind}", pem):
        with pytest.raises(NotVerified):
            read_key(line)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n5\n", "\n6\n"),
        ("\n5\n", "\n05\n"),
        ("\n5\n", "\n-5\n"),
        ("time 2026", "time 2027"),
        ("time 2026", "note 2026"),
        ("Z\n\n", "Z\nmore\n\n"),
        ("Z\n\n", "Z\n"),
        ("\u2014 ", "- "),
        ("=\n", "\n"),
    ],
)
def test_a_changed_checkpoint_is_refused(db: Database, signer: Signer, now: dt.datetime, old: str, new: str) -> None:
    fill(db, 5)
    text = checkpoint(db, signer, now).text
    assert old in text
    with pytest.raises(NotVerified):
        read_checkpoint(text.replace(old, new, 1), signer.key)
