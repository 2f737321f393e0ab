"""What the ledger costs, as ratios measured in pairs on the same machine.

Append against an insert of the same columns by the same driver, in the same kind of transaction with the same commit
and fsync (same database, one writer, taking turns), and against the ORM's insert, which is what state is written by;
verification of an export against reading and json-parsing the same lines. Run: `python -m tests.bench.ledger_bench`.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import BigInteger, ForeignKey, Index, Integer, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.postgres import postgres_server, server_programs
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.entry import FIRST_PREV, around_link, utc_text
from tre_orchestrator.ledger.export import checkpoint_line, header_line
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.ledger.tre_verify import Tree, leaf_hash, read_lines, verify_export

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
PAIRS, ROUNDS, ENTRIES = 1000, 5, 1_000_000


@dataclass(frozen=True)
class Measured:
    """One ratio with its target and what it was made of."""

    name: str
    ratio: float
    target: float
    detail: str

    def __str__(self) -> str:
        verdict = "ok" if self.ratio <= self.target else "MISSED"
        return f"{self.name}: {self.ratio:.2f} (target {self.target:.2f}, {verdict}) {self.detail}"


class _RawBase(DeclarativeBase):
    metadata = MetaData()


class RawEntry(_RawBase):
    """The ledger's columns and indexes without its chain, guards and head."""

    __tablename__ = "raw_entries"
    __table_args__ = (Index("ix_raw_subject", "subject"), Index("ix_raw_kind", "kind"))

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    prev: Mapped[bytes]
    leaf: Mapped[bytes]
    entry: Mapped[bytes]


class RawBody(_RawBase):
    """The columns of a detached body."""

    __tablename__ = "raw_bodies"

    seq: Mapped[int] = mapped_column(ForeignKey("raw_entries.seq"), primary_key=True, autoincrement=False)
    salt: Mapped[bytes]
    body: Mapped[bytes]


def facts(number: int) -> dict[str, Json]:
    """Facts as a vote has them."""
    return {"commitment": hashlib.sha256(b"%d" % number).hexdigest(), "files": number % 9, "policy": "uk/3"}


class Peer:
    """Inserts what an entry is made of, and its body when there is a `text`, without chain, hash or guard."""

    def __init__(self, database: Database, text: str) -> None:
        self._database = database
        self._text = text
        self._row = "INSERT INTO raw_entries (seq, kind, subject, prev, leaf, entry) VALUES (?, ?, ?, ?, ?, ?)"
        self._body = "INSERT INTO raw_bodies (seq, salt, body) VALUES (?, ?, ?)"
        if not database.is_sqlite:
            self._row, self._body = self._row.replace("?", "%s"), self._body.replace("?", "%s")

    def by_driver(self, number: int) -> None:
        """As SQL, which is how `append` writes."""
        with self._database.write() as session:
            connection = session.connection()
            row = (number, "vote.cast", "request/heart/12", _DIGEST, _DIGEST, self._entry(number))
            connection.exec_driver_sql(self._row, row)
            if self._text:
                connection.exec_driver_sql(self._body, (number, secrets.token_bytes(32), self._said()))

    def by_orm(self, number: int) -> None:
        """As objects, which is how state is written."""
        entry, number = self._entry(number), number + _APART
        with self._database.write() as session:
            names = {"kind": "vote.cast", "subject": "request/heart/12"}
            session.add(RawEntry(seq=number, prev=_DIGEST, leaf=_DIGEST, entry=entry, **names))
            if self._text:
                session.flush()
                session.add(RawBody(seq=number, salt=secrets.token_bytes(32), body=self._said()))

    def _entry(self, number: int) -> bytes:
        row = {"actor": "anna", "at": NOW.isoformat(), "facts": facts(number), "kind": "vote.cast", "seq": number}
        return json.dumps({**row, "body": None, "prev": "0" * 64, "subject": "request/heart/12", "v": 1}).encode()

    def _said(self) -> bytes:
        return json.dumps({"conditions": self._text}).encode()


def append_ratios(url: str, name: str, target: float, *, text: str = "") -> list[Measured]:
    """Median time of append + commit over that of each peer, one after the other, round by round.

    With `text`, append also stores a detachable body, a second row, and so do the peers.
    """
    body = {"conditions": text} if text else None
    database = Database(url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables[name] for name in _TABLES])
    _RawBase.metadata.create_all(database.engine)
    peer = Peer(database, text)

    def chained(number: int) -> None:
        with database.write() as session:
            append(session, "vote.cast", person("anna"), "request/heart/12", facts(number), body=body, now=NOW)

    acts, medians, number = (peer.by_driver, chained, peer.by_orm), [], 0
    for turn in range(ROUNDS + 1):
        times: list[list[float]] = [[] for _ in acts]
        for _ in range(PAIRS):
            number += 1
            for act, kept in zip(acts, times, strict=True):
                kept.append(_seconds(partial(act, number)))
        if turn:  # the first round warms caches and prepared statements
            medians.append([statistics.median(kept) for kept in times])
    database.dispose()
    return [
        _compared(f"append / insert by the driver, {name}", [(raw, own) for raw, own, _ in medians], target),
        _compared(f"append / insert by the ORM, {name}", [(orm, own) for _, own, orm in medians], target),
    ]


def _compared(name: str, pairs: list[tuple[float, float]], target: float) -> Measured:
    ratios = [own / raw for raw, own in pairs]
    raw, own = pairs[-1]
    detail = f"insert {raw * 1e6:.0f} us, append {own * 1e6:.0f} us, rounds {_list(ratios)}"
    return Measured(name, statistics.median(ratios), target, detail)


def verify_ratio(folder: Path) -> Measured:
    """Verification of an export of a million entries over reading and json-parsing its lines, taking turns."""
    signer = Signer(Ed25519PrivateKey.generate())
    path = folder / "export.jsonl"
    _write_export(path, signer)

    def parse() -> None:
        with path.open("rb") as file:
            for line in file:
                json.loads(line)

    def verify() -> None:
        with path.open("rb") as file:
            assert verify_export(read_lines(file), signer.key).checkpoint.size == ENTRIES

    pairs = [(_seconds(parse), _seconds(verify)) for _ in range(ROUNDS)]
    ratio = statistics.median(second / first for first, second in pairs)
    detail = f"parse {pairs[-1][0]:.2f} s, verify {pairs[-1][1]:.2f} s, rounds {_list([b / a for a, b in pairs])}"
    return Measured("verify 1,000,000 entries / read + json-parse", ratio, 1.5, detail)


def measure() -> list[Measured]:
    """Everything in this file."""
    with tempfile.TemporaryDirectory(prefix="tre-bench-") as name:
        folder = Path(name)
        results: list[Measured] = []
        for kind, text in (("", ""), (", with a body", "as agreed with the controller")):
            url = f"sqlite:///{folder / f'bench{len(results)}.sqlite'}"
            results += append_ratios(url, f"SQLite synchronous=FULL{kind}", 1.3, text=text)
        if server_programs() is None:
            raise SystemExit("PostgreSQL's server is not installed: apt-get install postgresql")
        for kind, text in (("", ""), (", with a body", "as agreed with the controller")):
            with postgres_server() as url:
                results += append_ratios(url, f"PostgreSQL{kind}", 1.15, text=text)
        results.append(verify_ratio(folder))
    return results


_DIGEST = bytes(32)
_APART = 10_000_000
"""What the ORM inserts is numbered apart from what the driver inserts."""
_TABLES = ("ledger_entries", "ledger_head", "ledger_bodies")


def _write_export(path: Path, signer: Signer) -> None:
    """A million entries as `append` forms them, without a database in between."""
    prev, tree = FIRST_PREV, Tree()
    with path.open("wb") as file:
        file.write(header_line(signer.name))
        for seq in range(1, ENTRIES + 1):
            commitment = hashlib.sha256(b"%d" % seq).hexdigest() if seq % 3 == 0 else None
            actor, subject = person(f"checker-{seq % 7}"), f"request/heart/{seq % 500}"
            entry = around_link("vote.cast", actor, subject, facts(seq), commitment, NOW).entry(seq, prev)
            prev = leaf_hash(entry)
            tree.extend([prev])
            file.write(entry + b"\n")
        root = base64.b64encode(tree.root()).decode()
        note = signer.note(f"{signer.name}\n{ENTRIES}\n{root}\ntime {utc_text(NOW)}\n")
        file.write(checkpoint_line(note))


def _seconds(act: Callable[[], None]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _list(ratios: list[float]) -> str:
    return " ".join(f"{ratio:.2f}" for ratio in ratios)


if __name__ == "__main__":
    results = measure()
    print("\n".join(map(str, results)))
    sys.exit(any(result.ratio > result.target for result in results))
