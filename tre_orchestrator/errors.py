"""Every failure a person can meet is a `TreError`: a stable code and a sentence that says what, why and what next.

The same code and sentence reach the command line, the API (`application/problem+json`, RFC 9457) and the page.
A rule that refuses returns `Refusal`s; `refuse_if` turns them into the error, so a rule has one body and two faces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something may not happen: `code` is stable and machine-readable, `sentence` is for the person."""

    code: str
    sentence: str


class TreError(Exception):
    """A failure with a code, a sentence a person can act on, and the HTTP status it maps to."""

    status = 400

    def __init__(self, code: str, sentence: str, *, status: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        if status is not None:
            self.status = status

    def problem(self) -> dict[str, object]:
        """The error as an RFC 9457 problem object."""
        return {"type": f"urn:tre:{self.code}", "title": self.sentence, "status": self.status, "code": self.code}


class Invalid(TreError):
    """Input that does not have the promised form."""

    status = 422


class NotFound(TreError):
    """Nothing there for this person: an object that is absent and one that may not be seen look the same (P3)."""

    status = 404


class Refused(TreError):
    """A rule said no. `refusals` holds every reason, the first one is the headline."""

    status = 403

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(refusals)
        first = self.refusals[0]
        super().__init__(first.code, " ".join(refusal.sentence for refusal in self.refusals))

    def problem(self) -> dict[str, object]:
        """The error as an RFC 9457 problem object, with every reason."""
        reasons = [{"code": refusal.code, "sentence": refusal.sentence} for refusal in self.refusals]
        return {**super().problem(), "reasons": reasons}


class Stale(TreError):
    """The object changed since the person looked at it: they get the fresh state and decide again."""

    status = 409


class Unavailable(TreError):
    """Something the answer depends on cannot be reached or trusted now."""

    status = 503


def refuse_if(refusal: Refusal | None) -> None:
    """Raise `Refused` when a rule returned a reason."""
    if refusal is not None:
        raise Refused([refusal])
