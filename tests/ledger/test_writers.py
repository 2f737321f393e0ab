"""Eight processes append at once: one order, no fork, no lost entry."""

from __future__ import annotations

import collections
import datetime as dt
import json
import multiprocessing
import threading
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.ledger.conftest import newest
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.checkpoints import checkpoint_at, make_checkpoint
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ledger.tables import LedgerCheckpoint
from tre_orchestrator.ledger.verify import verify_database

WRITERS, EACH = 8, 40
NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


class OwnBase(DeclarativeBase):
    """Tables of this test only, apart from the product's."""


class Written(OwnBase):
    """State beside each entry, to count what was committed."""

    __tablename__ = "test_written"

    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int]


def _write(url: str, writer: int, keys: str, start: object) -> None:
    db = Database(url)
    signer = load_or_create_signer(Path(keys))
    start.wait()  # type: ignore[attr-defined]
    for number in range(EACH):
        with db.write() as session:
            append(session, "test.made", person(f"w{writer}"), "x", {"number": number}, now=NOW)
            session.add(Written(id=writer * EACH + number, seq=newest(session).seq))
        if number % 10 == 9:
            with db.write() as session:
                make_checkpoint(session, signer, NOW)
    db.dispose()


def test_eight_writers_make_one_ledger(db: Database, state_dir: Path) -> None:
    OwnBase.metadata.create_all(db.engine)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(WRITERS)
    url = db.engine.url.render_as_string(hide_password=False)
    processes = [
        context.Process(target=_write, args=(url, writer, str(state_dir / "keys"), start)) for writer in range(WRITERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * WRITERS

    signer = load_or_create_signer(state_dir / "keys")
    with db.write() as session:
        make_checkpoint(session, signer, NOW)
    with db.read() as session:
        verdict = verify_database(session, signer.key)
        assert verdict.entries == verdict.signed == WRITERS * EACH
        assert verdict.checkpoints == session.query(LedgerCheckpoint).count() > 1
        assert checkpoint_at(session, WRITERS * EACH).root.hex() == verdict.root
        seen = entries(session, limit=1000)
        written = {row.id: row.seq for row in session.query(Written)}
    numbers = collections.defaultdict(list)
    for entry in seen:
        numbers[entry.actor.id].append(entry.facts["number"])
        writer = int(entry.actor.id[1:])
        assert written.pop(writer * EACH + entry.facts["number"]) == entry.seq
    assert written == {}
    assert all(order == list(range(EACH)) for order in numbers.values()), json.dumps(numbers)
    assert len(numbers) == WRITERS


def test_D2_what_a_transaction_decides_on_is_still_so_when_it_commits(db: Database) -> None:
    """A start and the revocation of its grant never both read the other's past, on either database."""
    order: list[str] = []
    inside, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with db.write():
            inside.set()
            may_end.wait(10)
            order.append("first")

    def second() -> None:
        with db.write():
            order.append("second")

    one = threading.Thread(target=first)
    one.start()
    assert inside.wait(10)
    other = threading.Thread(target=second)
    other.start()
    other.join(0.5)
    assert order == []
    may_end.set()
    one.join(10)
    other.join(10)
    assert order == ["first", "second"]
