"""The plainest zip there is: stored members, one header form, nothing between them, the same bytes for the same input.

The outsiders' verifier accepts only this layout, because a zip that can be read in two ways could show its checker
other files than its receiver (local headers and directory must agree, no descriptors, no comments, no extra fields).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tre_orchestrator.errors import Refusal, Refused

_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")
_NEEDED, _UTF8, _STORED = 20, 0x800, 0
_MADE_ON_UNIX = 3 << 8 | _NEEDED
_CLOCK, _DAY = 0, 1 << 5 | 1
"""1980-01-01 00:00: a bundle's times are in its documents."""
_PLAIN_FILE = 0o100644 << 16
_ROOM = 0xFFFF_FFFE


@dataclass(frozen=True)
class Member:
    """One file: `content` can be asked for more than once and gives the same bytes each time."""

    name: str
    content: Callable[[], Iterable[bytes]]


def zipped(members: Iterable[Member]) -> Iterator[bytes]:
    """The zip of `members`, in pieces. Each content is read twice: for its checksum, then for its bytes."""
    directory: list[bytes] = []
    offset = 0
    for member in members:
        name = member.name.encode()
        size, crc = _measure(member)
        if offset + size + len(name) > _ROOM:
            raise Refused([Refusal("bundle-too-big", "The files are too large for one bundle. Submit fewer.")])
        head = (_NEEDED, _UTF8, _STORED, _CLOCK, _DAY, crc, size, size, len(name), 0)
        yield _LOCAL.pack(b"PK\x03\x04", *head) + name
        yield from member.content()
        directory.append(_CENTRAL.pack(b"PK\x01\x02", _MADE_ON_UNIX, *head, 0, 0, 0, _PLAIN_FILE, offset) + name)
        offset += _LOCAL.size + len(name) + size
    listing = b"".join(directory)
    yield listing
    yield _END.pack(b"PK\x05\x06", 0, 0, len(directory), len(directory), len(listing), offset, 0)


def _measure(member: Member) -> tuple[int, int]:
    size = crc = 0
    for piece in member.content():
        size += len(piece)
        crc = zlib.crc32(piece, crc)
    return size, crc
