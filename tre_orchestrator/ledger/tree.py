"""Which subtrees a root, an inclusion proof or a consistency proof is made of (RFC 6962, 2.1): pure arithmetic.

A range [low, high) of leaves, as the recursion of RFC 6962 produces it, is a row of complete subtrees. Who knows how
to look up the hash of a complete subtree (`Hashes`) can answer everything by reading O(log n) of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from tre_orchestrator.ledger.tre_verify import fold

EMPTY_ROOT = hashlib.sha256().digest()


class Node(NamedTuple):
    """A complete subtree of 2^level leaves, number `position` from the left."""

    level: int
    position: int


Range = tuple[int, int]
Hashes = Callable[[Node], bytes]


def root(size: int, hashes: Hashes) -> bytes:
    """Root of the first `size` leaves."""
    return EMPTY_ROOT if size == 0 else range_hash((0, size), hashes)


def inclusion(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """PATH(index, D[size]): the audit path of leaf `index` (from 0), nearest sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not among {size}")
    return [range_hash(part, hashes) for part in _path(index, 0, size)]


def consistency(old: int, new: int, hashes: Hashes) -> list[bytes]:
    """PROOF(old, D[new]): shows that the first `old` leaves of the later tree are the earlier tree."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} leaves does not continue one of {old}")
    return [range_hash(part, hashes) for part in _subproof(old, 0, new, whole=True)]


def range_hash(part: Range, hashes: Hashes) -> bytes:
    """Hash over the leaves [low, high)."""
    return fold([hashes(node) for node in cover(part)])


def cover(part: Range) -> list[Node]:
    """The complete subtrees that make up [low, high), from left to right."""
    low, high = part
    nodes = []
    while low < high:
        level = (high - low).bit_length() - 1
        if low & ((1 << level) - 1):
            raise ValueError(f"[{part[0]}, {high}) is not a range of the tree")
        nodes.append(Node(level, low >> level))
        low += 1 << level
    return nodes


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _path(index: int, low: int, high: int) -> list[Range]:
    if high - low == 1:
        return []
    middle = low + _split(high - low)
    if index < middle:
        return [*_path(index, low, middle), (middle, high)]
    return [*_path(index, middle, high), (low, middle)]


def _subproof(old: int, low: int, high: int, *, whole: bool) -> list[Range]:
    if old == high:
        return [] if whole else [(low, high)]
    middle = low + _split(high - low)
    if old <= middle:
        return [*_subproof(old, low, middle, whole=whole), (middle, high)]
    return [*_subproof(old, middle, high, whole=False), (low, middle)]
