"""The form of an entry: version 1, RFC 8785 canonical JSON, and where in it the two values stand that only the ledger's
head knows (`prev` and `seq`), so that the database itself can complete the bytes in one statement.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tre_orchestrator.errors import Invalid
from tre_orchestrator.ledger.canonical import Json, canonical

ENTRY_MAX_BYTES = 64 * 1024
FIRST_PREV = bytes(32)
"""`prev` of the first entry: there is none before it."""
_KIND = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)+")
_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,300}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted. Only a `person` can approve, vote or grant; `console` is somebody at the machine (break glass)."""

    kind: Literal["person", "software", "console"]
    id: str


def person(identity: str) -> Actor:
    """A person acting through their own session or token."""
    return Actor("person", identity)


def software(name: str) -> Actor:
    """A part of this system acting by itself; never counts as a human."""
    return Actor("software", name)


def console(user: str) -> Actor:
    """An operating system user at the machine's console."""
    return Actor("console", user)


@dataclass(frozen=True, slots=True)
class Around:
    """An entry's bytes before the value of `prev` and from `subject` on. In between: `<prev hex>","seq":<seq>,`."""

    before: bytes
    after: bytes

    def entry(self, seq: int, prev: bytes) -> bytes:
        """The whole entry as number `seq` after the entry with leaf `prev`."""
        return self.before + f'{prev.hex()}","seq":{seq},'.encode() + self.after


def around_link(
    kind: str, actor: Actor, subject: str, facts: Mapping[str, Json], commitment: str | None, now: dt.datetime
) -> Around:
    """Everything the caller decides about an entry. Raises `Invalid` when it does not have an entry's form."""
    if not _KIND.fullmatch(kind) or not _LINE.fullmatch(subject) or not _LINE.fullmatch(actor.id):
        raise Invalid("ledger-form", f"'{kind}' about '{subject}' by '{actor.id}' does not have a ledger entry's form.")
    if now.tzinfo is None:
        raise ValueError("a moment without time zone")
    said = (
        f'{{"actor":{{"id":{_json(actor.id)},"kind":"{actor.kind}"}},"at":"{utc_text(now)}",'
        f'"body":{_json(commitment)},"facts":{_json(facts)},"kind":"{kind}","prev":"'
    )
    before, after = said.encode(), f'"subject":{_json(subject)},"v":1}}'.encode()
    if len(before) + len(after) > ENTRY_MAX_BYTES:
        raise Invalid("ledger-too-long", f"The facts for the ledger are over {ENTRY_MAX_BYTES} bytes. Use the body.")
    return Around(before, after)


def _json(value: Json) -> str:
    return canonical(value).decode()


def utc_text(moment: dt.datetime) -> str:
    """A moment as the ledger writes it: UTC, microseconds, `Z`; sorts as text."""
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
