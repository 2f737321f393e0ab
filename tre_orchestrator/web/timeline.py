"""A request's way so far and what comes next, from what its viewer may see: pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.views import RequestView

_NEXT = {
    State.draft: "Submit it when the form is complete.",
    State.submitted: "The files are copied out of your workspace.",
    State.checking: "Each file is checked by machine; this takes seconds to minutes.",
    State.blocked: "Change the files and submit again, or say why checkers should look at them as they are.",
    State.awaiting_review: "Checkers review it, each without knowing what the other says.",
    State.in_review: "Checkers review it, each without knowing what the other says.",
    State.consolidating: "The checkers agree on what has to change.",
    State.returned: "Change what is asked for and submit again.",
    State.approved: "The bundle is packed and signed.",
    State.releasing: "The bundle is packed and signed.",
    State.release_failed: "The release is tried again by itself.",
    State.released: "Download the bundle before it expires.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One point: what happened when; `at` None is what comes next."""

    text: str
    at: dt.datetime | None
    detail: str = ""


def timeline(seen: RequestView) -> list[Event]:
    """Everything dated, oldest first, then the next step if there is one."""
    events = [Event("Draft made", seen.created_at)]
    if seen.submitted_at:
        turn = f"Turn {seen.turn}" if seen.turn > 1 else ""
        events.append(Event("Submitted", seen.submitted_at, turn))
    events += [
        Event("Comment of the decision", comment.at, comment.text) for comment in seen.comments if comment.decision
    ]
    if seen.release:
        events.append(Event("Released", seen.release.at))
        events += [Event("Bundle downloaded", at) for _person, at in seen.release.downloads]
    dated = sorted(events, key=lambda event: event.at or seen.created_at)
    if not any(event.at == seen.state_since for event in dated):
        dated.append(Event(seen.state_label, seen.state_since))
    following = _NEXT.get(seen.state)
    return [*dated, Event("Next", None, following)] if following else dated
