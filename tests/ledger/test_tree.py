"""The tree against the definitions of RFC 6962, written down naively."""

from __future__ import annotations

import datetime as dt
import hashlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger import tree
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.checkpoints import consistency_proof, inclusion_proof
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.nodes import extend_nodes, node_hash_of
from tre_orchestrator.ledger.tables import LedgerEntry, LedgerNode
from tre_orchestrator.ledger.tre_verify import (
    NotVerified,
    Tree,
    complete_root,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"%d" % number) for number in range(300)]
sizes = st.integers(1, len(LEAVES))


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*path(index, leaves[:split]), mth(leaves[split:])]
    return [*path(index - split, leaves[split:]), mth(leaves[:split])]


def proof(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if old == len(leaves):
        return [] if whole else [mth(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if old <= split:
        return [*proof(old, leaves[:split], whole), mth(leaves[split:])]
    return [*proof(old - split, leaves[split:], False), mth(leaves[:split])]


def lookup(leaves: list[bytes], node: tree.Node) -> bytes:
    width = 1 << node.level
    return complete_root(leaves[node.position * width : (node.position + 1) * width])


HASHES = partial(lookup, LEAVES)


def test_known_answers_of_certificate_transparency() -> None:
    """The reference tree of eight leaves from Certificate Transparency's own tests."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    grown = Tree()
    assert grown.root() == hashlib.sha256().digest() == tree.root(0, HASHES)
    for text in inputs:
        grown.extend([leaf_hash(bytes.fromhex(text))])
        assert grown.root().hex() == roots.get(grown.size, grown.root().hex())
    assert grown.size == 8


@given(sizes, st.lists(st.integers(1, 70), max_size=8))
def test_a_tree_grown_in_any_steps_has_the_root_of_its_leaves(size: int, steps: list[int]) -> None:
    grown, done = Tree(), 0
    for step in [*steps, size]:
        chunk = LEAVES[done : min(done + step, size)]
        grown.extend(chunk)
        done += len(chunk)
        assert grown.root() == mth(LEAVES[:done])
    assert tree.root(size, HASHES) == mth(LEAVES[:size])


@given(st.data(), sizes)
def test_inclusion_proofs_are_those_of_the_rfc_and_hold(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    made = tree.inclusion(index, size, HASHES)
    assert made == path(index, LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, made, mth(LEAVES[:size]))


@given(st.data(), sizes)
def test_no_other_leaf_place_size_or_proof_passes_for_an_inclusion(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    made, root = tree.inclusion(index, size, HASHES), mth(LEAVES[:size])
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index)) if size > 1 else -1
    noise = data.draw(st.binary(min_size=32, max_size=32))
    forged = [
        (noise, index, size, made),
        (LEAVES[index], other, size, made),
        (LEAVES[index], size, size, made),
        (LEAVES[index], index, size, [*made, noise]),
    ]
    if made:
        place = data.draw(st.integers(0, len(made) - 1))
        forged.append((LEAVES[index], index, size, [*made[:place], noise, *made[place + 1 :]]))
        forged.append((LEAVES[index], index, size, made[:place] + made[place + 1 :]))
    for leaf, at, count, steps in forged:
        with pytest.raises(NotVerified):
            verify_inclusion(leaf, at, count, steps, root)


@given(st.data(), sizes)
def test_consistency_proofs_are_those_of_the_rfc_and_hold(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    made = tree.consistency(old, new, HASHES)
    assert made == proof(old, LEAVES[:new])
    verify_consistency(old, new, mth(LEAVES[:old]), mth(LEAVES[:new]), made)


@given(st.data(), sizes)
def test_no_other_history_passes_for_consistent(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    made = tree.consistency(old, new, HASHES)
    changed = list(LEAVES[:new])
    changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"other")
    forged = [
        (old, mth(LEAVES[:old]), mth(changed), tree.consistency(old, new, partial(lookup, changed))),
        (old, mth(LEAVES[:old]), mth(changed), made),
        (old, mth(LEAVES[:old]), mth(LEAVES[:new]), [*made, leaf_hash(b"more")]),
        (new + 1, mth(LEAVES[:old]), mth(LEAVES[:new]), made),
        (0, mth(LEAVES[:old]), mth(LEAVES[:new]), made),
    ]
    if made:
        forged.append((old, mth(LEAVES[:old]), mth(LEAVES[:new]), made[:-1]))
    for size, before, after, steps in forged:
        with pytest.raises(NotVerified):
            verify_consistency(size, new, before, after, steps)


@pytest.mark.parametrize(("low", "high"), [(1, 3), (2, 6), (5, 8)])
def test_a_range_that_the_tree_does_not_have_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="not a range"):
        tree.cover((low, high))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not among"):
        tree.inclusion(index, size, HASHES)
    with pytest.raises(ValueError, match="does not continue"):
        tree.consistency(size + 1, size, HASHES)


def test_proofs_from_the_database_hold_with_and_without_kept_subtrees(db: Database, now: dt.datetime) -> None:
    count = 700
    with db.write() as session:
        for n in range(count):
            append(session, "test.made", person("anna"), "x", {"n": n}, now=now)
        leaves = list(session.scalars(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)))
    roots = {size: mth(leaves[:size]) for size in (1, 255, 256, 257, 511, 512, 699, count)}

    def all_hold() -> None:
        with db.read() as session:
            hashes = partial(node_hash_of, session)
            for size, root in roots.items():
                assert tree.root(size, hashes) == root
                verify_consistency(size, count, root, roots[count], consistency_proof(session, size, count))
                for seq in {1, size // 2 + 1, size}:
                    verify_inclusion(leaves[seq - 1], seq - 1, size, inclusion_proof(session, seq, size), root)

    all_hold()
    with db.write() as session:
        extend_nodes(session, 600)
        assert session.execute(select(func.count()).select_from(LedgerNode)).scalar_one() == 2
    all_hold()
    with db.read() as session, pytest.raises(Unavailable, match="missing"):
        tree.root(count + 1, partial(node_hash_of, session))


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)
def test_a_large_ledger_keeps_two_levels_and_reads_few_rows(db: Database) -> None:
    count = 66_000
    prev, rows = bytes(32), []
    for seq in range(1, count + 1):
        entry = b"%d" % seq
        leaf = leaf_hash(entry)
        rows.append({"seq": seq, "kind": "a.b", "subject": "x", "prev": prev, "leaf": leaf, "entry": entry})
        prev = leaf
    leaves = [row["leaf"] for row in rows]
    with db.write() as session:
        session.execute(insert(LedgerEntry), rows)
        extend_nodes(session, count)
    with db.read() as session:
        kept = select(LedgerNode.level, func.count()).group_by(LedgerNode.level)
        assert [tuple(row) for row in session.execute(kept.order_by(LedgerNode.level))] == [(8, count >> 8), (16, 1)]
        grown = Tree()
        grown.extend(leaves)  # type: ignore[arg-type]
        assert tree.root(count, partial(node_hash_of, session)) == grown.root()
        for seq in (1, 300, 65_536, 65_537, count):
            made = inclusion_proof(session, seq, count)
            verify_inclusion(leaf_hash(b"%d" % seq), seq - 1, count, made, grown.root())
