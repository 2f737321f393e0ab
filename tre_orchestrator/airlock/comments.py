"""Words that people leave on a request: comments, reasons, decisions. Who sees them when is `visibility`'s matter."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import find_request, no_such_request, standing, why_not_checker
from tre_orchestrator.airlock.reading import view
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.tables import CommentRow, RequestRow
from tre_orchestrator.airlock.tally import files_of
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, refuse_if

WORDS_MAX = 2000


def comment(
    session: Session,
    project: str,
    request_id: int,
    person: str,
    text: str,
    now: dt.datetime,
    *,
    path: str = "",
    public: bool = False,
) -> RequestView:
    """Say something about the request or one file of it.

    A checker's comment stays with the checkers unless `public`, and either way unseen by others while votes are blind.
    An author's is seen by everybody who sees the request.
    """
    row = find_request(session, project, request_id, lock=True)
    who = standing(session, row, person, now)
    if who.side is None:
        raise no_such_request(request_id)
    refuse_if(who.invalid if who.is_author else why_not_checker(who))
    if State(row.state).final:
        raise Refused([Refusal("over", f"The request is '{State(row.state).label}'; nothing can be added to it.")])
    if path and all(file.path != path for file in files_of(session, row)):
        raise NotFound("no-file", "There is no such file in this request.")
    session.add(
        CommentRow(
            request_id=row.id,
            turn=row.turn if who.is_author or row.state != State.returned else row.files_turn,
            path=path,
            person=person,
            text=reason_in_words(text, needed=True, why="A comment needs words."),
            by_checker=not who.is_author,
            public=public or who.is_author,
            at=now,
        )
    )
    return view(session, project, request_id, person, now)


def add_decision(session: Session, row: RequestRow, person: str, words: str, now: dt.datetime) -> None:
    """Keep the reason of a return or a rejection with the turn it ended."""
    session.add(
        CommentRow(
            request_id=row.id,
            turn=row.turn,
            person=person,
            text=words,
            by_checker=True,
            public=True,
            decision=True,
            at=now,
        )
    )


def reason_in_words(text: str, *, needed: bool, why: str) -> str:
    """`text` without spaces around it; raises `Refused` when a reason is needed and there is none."""
    words = text.strip()
    if needed and not words:
        raise Refused([Refusal("reason-needed", f"{why} Say why in a few words.")])
    if len(words) > WORDS_MAX:
        raise Invalid("too-long", f"This is longer than {WORDS_MAX} characters. Shorten it.")
    return words
