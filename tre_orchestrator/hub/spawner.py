"""JupyterHub's spawner: it hands starts and ends to `workspaces.lifecycle` and reports what happens there.

A server's name is a project. The unnamed server is refused. The hub's own memory decides nothing: whether a workspace
runs is asked of its row and of the backend, so a restarted hub finds running workspaces as they are. A start that is
given up goes on in its thread until it hears of it: it is ended, waited for, and ended again if it came up meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from jupyterhub.objects import Server
from jupyterhub.spawner import Spawner, SpawnException
from tornado.log import app_log

from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId, is_name
from tre_orchestrator.errors import Invalid, TreError, Unavailable
from tre_orchestrator.hub import runtime
from tre_orchestrator.hub.readiness import WorkspaceServer
from tre_orchestrator.ledger.append import software
from tre_orchestrator.workspaces import lifecycle
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.lifecycle import EndReason, WorkspaceView
from tre_orchestrator.workspaces.tables import WorkspaceState

HUB_ENDED = EndReason("hub-ended", "The hub ended it: its start took too long, or the hub was told to. Start it again.")
_PROGRESS_SECONDS = 0.1
_ENDED = 0


class StartError(SpawnException):  # type: ignore[misc]
    """Why a workspace did not start: the person gets the sentence, the hub's log and metrics the code."""

    def __init__(self, error: TreError) -> None:
        status = error.status if 400 <= error.status < 600 else 400
        super().__init__(error.sentence, reason=error.code, log_message=error.code, status_code=status)
        self.jupyterhub_message = error.sentence


class WorkspaceSpawner(Spawner):  # type: ignore[misc]
    """One workspace of one person in one project."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = ""
        self.socket = ""
        self.why_end = HUB_ENDED
        self._steps: list[tuple[str, int]] = []
        self._starting: asyncio.Future[Handle] | None = None

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what the hub's database kept."""
        super().load_state(state)
        self.workspace = state.get("workspace", "")
        self.socket = state.get("socket", "")

    def get_state(self) -> dict[str, Any]:
        """What a restarted hub needs."""
        return {**super().get_state(), "workspace": self.workspace, "socket": self.socket}

    def clear_state(self) -> None:
        """Forget the workspace that was."""
        super().clear_state()
        self.workspace = self.socket = ""

    @property
    def server(self) -> Server | None:
        """The hub's record of the server, which waits at the workspace's listener."""
        found = Spawner.server.fget(self)
        if found is not None and not isinstance(found, WorkspaceServer):
            found = self._server = WorkspaceServer(orm_server=found.orm_server)
        if found is not None:
            found.socket = Path(self.socket) if self.socket else None
            found.why_over = self._why_over
        return found

    @server.setter
    def server(self, server: Server | None) -> None:
        Spawner.server.fset(self, server)

    async def start(self) -> str:
        """Start the workspace; the address is a name only, nobody connects to it."""
        self._steps = []
        self.why_end = HUB_ENDED
        here = runtime.current()
        loop = asyncio.get_running_loop()

        def progress(step: str, percent: int) -> None:
            loop.call_soon_threadsafe(self._steps.append, (step, percent))

        def work() -> Handle:
            project = ProjectName(self._project())
            person = PersonId(self.user.name)
            mfa = self.user_options.get("mfa") is True
            return lifecycle.start(
                here.db, here.settings, here.backend, project, person, here.clock(), progress, mfa=mfa
            )

        try:
            self._starting = asyncio.ensure_future(here.long(work))
            handle = await asyncio.shield(self._starting)
        except TreError as error:
            raise StartError(error) from error
        self.workspace, self.socket = handle.workspace, str(handle.socket)
        return f"http://{handle.workspace}.workspace.invalid:80"

    async def poll(self) -> int | None:
        """None while it runs; 0 when it does not. A backend that cannot be asked ends nothing."""
        if self._is_starting():
            return None
        try:
            return await runtime.current().quick(self._poll)
        except Unavailable as error:
            app_log.warning("Cannot ask about workspace %s (%s); believed to run", self.workspace, error.code)
            return None

    async def stop(self, now: bool = False) -> None:
        """End the workspace; returns when nothing of it runs, a start that was given up included."""
        here = runtime.current()
        await here.long(self._end)
        if self._starting is not None:
            await asyncio.wait([self._starting])
            self._starting.exception()
            self._starting = None
            await here.long(self._end)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps of the start, as they happen."""
        shown = 0
        while True:
            steps = self._steps
            while shown < len(steps):
                step, percent = steps[shown]
                shown += 1
                yield {"progress": percent, "message": step}
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def _why_over(self) -> StartError | None:
        if await self.poll() is None:
            return None
        view = await runtime.current().quick(self._view)
        why = view.end_reason if view else ""
        return StartError(Unavailable("start-overtaken", why or "It ended before it was ready. Start it again."))

    def _is_starting(self) -> bool:
        return self._starting is not None and not self._starting.done()

    def _end(self) -> None:
        here = runtime.current()
        if (view := self._view()) is not None:
            actor = None if self.why_end == lifecycle.ASKED else software("hub")
            lifecycle.end(here.db, here.settings, here.backend, view.id, self.why_end, here.clock(), actor=actor)

    def _poll(self) -> int | None:
        here = runtime.current()
        view = self._view()
        if view is None or view.state not in (WorkspaceState.running, WorkspaceState.starting):
            return _ENDED
        if view.state is WorkspaceState.starting:
            return None
        return None if here.backend.poll(view.id).running else _ENDED

    def _view(self) -> WorkspaceView | None:
        here = runtime.current()
        with here.db.read() as session:
            if self.workspace:
                return lifecycle.by_id(session, WorkspaceId(self.workspace))
            if not is_name(self.name):
                return None
            return lifecycle.workspace_of(session, PersonId(self.user.name), ProjectName(self.name))

    def _project(self) -> str:
        if not is_name(self.name):
            raise Invalid("no-project", "A workspace belongs to a project. Start it from the project's page.")
        return str(self.name)
