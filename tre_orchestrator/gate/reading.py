"""Rights as the database has them, read once per workspace and once per person, however many frames ask.

So a round over all rights in use costs what the workspaces cost, and one browser with hundreds of frames delays nobody.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, WorkspaceId
from tre_orchestrator.errors import Refusal, TreError, Unavailable
from tre_orchestrator.gate.meter import MIB, MeterKey
from tre_orchestrator.gate.rights import Right
from tre_orchestrator.gate.tickets import Frame, open_frames
from tre_orchestrator.governance.credentials import sessions_of_person
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.lifecycle import WorkspaceView, by_id, why_not_usable

RESTARTED = Refusal("workspace-restarted", "This workspace was started again. Open it again from its project.")
FRAME_OVER = Refusal("frame-over", "This page was open for very long. Open the workspace again from its project.")
SIGNED_OUT = Refusal("signed-out", "You are signed out. Sign in again and open the workspace from its project.")
FRAME_CLOSED = Refusal(
    "frame-closed", "This page was closed because you opened the workspace in many others. Open it again."
)


def read_rights(
    session: Session, settings: Settings, asked: Sequence[tuple[Frame, Right | None]], now: dt.datetime
) -> list[Right | Refusal]:
    """The right of each frame, or why it has none. Raises `Unavailable` when the database cannot say.

    Beside a frame stands its right as last read: the tier's controls are part of what was approved, read once.
    """
    round_ = _Round(session, settings, now, open_frames(session, {frame.person for frame, _known in asked}))
    return [round_.right(frame, known) for frame, known in asked]


@dataclass(frozen=True, slots=True)
class _Standing:
    """What one workspace's frames have in common."""

    view: WorkspaceView | None
    refusal: Refusal | None


class _Round:
    """One reading; remembers what was found for a workspace, a person."""

    def __init__(self, session: Session, settings: Settings, now: dt.datetime, frames: frozenset[str]) -> None:
        self._session = session
        self._settings = settings
        self._now = now
        self._frames = frames
        self._standings: dict[WorkspaceId, _Standing] = {}
        self._signed_in: dict[PersonId, frozenset[str]] = {}
        self._limits: dict[WorkspaceId, Right] = {}

    def right(self, frame: Frame, known: Right | None) -> Right | Refusal:
        try:
            view = self._usable(frame)
            if isinstance(view, Refusal):
                return view
            if known is not None:
                return replace(known, ends_at=view.ends_at)
            if frame.workspace not in self._limits:
                self._limits[frame.workspace] = self._first(frame, view)
            return replace(self._limits[frame.workspace], frame=frame)
        except Unavailable:
            raise
        except TreError as error:
            return Refusal(error.code, error.sentence)

    def _usable(self, frame: Frame) -> WorkspaceView | Refusal:
        standing = self._standing(frame.workspace)
        view = standing.view
        if standing.refusal is not None:
            return standing.refusal
        if view is None or view.nonce != frame.nonce or view.person != frame.person:
            return RESTARTED
        if self._now >= frame.expires_at:
            return FRAME_OVER
        if frame.session_id not in self._sessions(frame.person):
            return SIGNED_OUT
        return view if frame.key in self._frames else FRAME_CLOSED

    def _standing(self, workspace: WorkspaceId) -> _Standing:
        if workspace not in self._standings:
            try:
                refusal = why_not_usable(self._session, self._settings, workspace, self._now)
                found = _Standing(by_id(self._session, workspace), refusal)
            except Unavailable:
                raise
            except TreError as error:
                found = _Standing(None, Refusal(error.code, error.sentence))
            self._standings[workspace] = found
        return self._standings[workspace]

    def _sessions(self, person: PersonId) -> frozenset[str]:
        if person not in self._signed_in:
            live = sessions_of_person(self._session, person, self._now)
            self._signed_in[person] = frozenset(one.id for one in live)
        return self._signed_in[person]

    def _first(self, frame: Frame, view: WorkspaceView) -> Right:
        decision = decide_now(self._session, self._settings, view.project, view.person, self._now, mfa=None)
        policy = decision.tier_policy
        return Right(
            frame=frame,
            meter=MeterKey(view.person, view.project),
            socket=Path(view.socket),
            soft=policy.browser.soft_mib * MIB,
            hard=policy.browser.hard_mib * MIB,
            scripts_in_output=policy.scripts_in_output,
            ends_at=view.ends_at,
        )
