"""What the ledger costs, as ratios measured in pairs on the same machine.

Append against a raw ORM insert and commit of the same columns (same database, one writer, taking turns), and
verification of an export against reading and json-parsing the same lines. Run: `python -m tests.bench.ledger_bench`.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import BigInteger, Index, Integer, MetaData, Text
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


def facts(number: int) -> dict[str, Json]:
    """Facts as a vote has them."""
    return {"commitment": hashlib.sha256(b"%d" % number).hexdigest(), "files": number % 9, "policy": "uk/3"}


def append_ratio(url: str, name: str, target: float, *, text: str = "") -> Measured:
    """Median time of append + commit over that of a raw insert + commit, one after the other, round by round.

    With `text`, append also stores a detachable body, a second row; the raw insert stays one row.
    """
    body = {"conditions": text} if text else None
    database = Database(url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables[name] for name in _TABLES])
    _RawBase.metadata.create_all(database.engine)

    def raw(number: int) -> None:
        row = {"actor": "anna", "at": NOW.isoformat(), "facts": facts(number), "kind": "vote.cast", "seq": number}
        entry = json.dumps({**row, "body": None, "prev": "0" * 64, "subject": "request/heart/12", "v": 1}).encode()
        digest = b"\x00" * 32
        with database.write() as session:
            session.add(
                RawEntry(
                    seq=number, kind="vote.cast", subject="request/heart/12", prev=digest, leaf=digest, entry=entry
                )
            )

    def chained(number: int) -> None:
        with database.write() as session:
            append(session, "vote.cast", person("anna"), "request/heart/12", facts(number), body=body, now=NOW)

    ratios, medians, number = [], (0.0, 0.0), 0
    for turn in range(ROUNDS + 1):
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(PAIRS):
            number += 1
            for act, kept in ((raw, times[0]), (chained, times[1])):
                kept.append(_seconds(partial(act, number)))
        if turn:  # the first round warms caches and prepared statements
            medians = (statistics.median(times[0]), statistics.median(times[1]))
            ratios.append(medians[1] / medians[0])
    database.dispose()
    detail = f"raw {medians[0] * 1e6:.0f} us, append {medians[1] * 1e6:.0f} us, rounds {_list(ratios)}"
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
    results = []
    with tempfile.TemporaryDirectory(prefix="tre-bench-") as name:
        folder = Path(name)
        sqlite = f"sqlite:///{folder / 'bench.sqlite'}"
        with_text = "as agreed with the controller"
        results.append(append_ratio(sqlite, "append / raw insert, SQLite synchronous=FULL", 1.3))
        sqlite = f"sqlite:///{folder / 'bodies.sqlite'}"
        results.append(append_ratio(sqlite, "append with a body / raw insert, SQLite", 1.3, text=with_text))
        if server_programs() is None:
            raise SystemExit("PostgreSQL's server is not installed: apt-get install postgresql")
        with postgres_server() as url:
            results.append(append_ratio(url, "append / raw insert, PostgreSQL", 1.15))
        with postgres_server() as url:
            results.append(append_ratio(url, "append with a body / raw insert, PostgreSQL", 1.15, text=with_text))
        results.append(verify_ratio(folder))
    return results


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
