"""Telling the hub that a workspace has ended, after it has: the hub may be down, and nothing waits for it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from urllib.parse import quote

from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance.secrets import HUB_CONTROLLER, required_secret
from tre_orchestrator.ops.health import UnixConnection
from tre_orchestrator.settings import Settings

_TIMEOUT_SECONDS = 10.0
_DONE = (202, 204, 404)


class HubNotes:
    """Ends that the hub has still to hear of; each is told until the hub has taken it, or the workspace runs again.

    `is_open` says whether a person's workspace in a project runs or starts now: a late note must not end that one.
    """

    def __init__(self, settings: Settings, is_open: Callable[[PersonId, ProjectName], bool]) -> None:
        self._settings = settings
        self._is_open = is_open
        self._waiting: dict[tuple[PersonId, ProjectName], None] = {}
        self._guard = threading.Lock()

    def add(self, person: PersonId, project: ProjectName) -> None:
        """The workspace of `person` in `project` has ended."""
        with self._guard:
            self._waiting[(person, project)] = None

    def send(self) -> int:
        """Tell the hub what waits; returns how many. Raises `Unavailable` when the hub does not take one."""
        with self._guard:
            waiting = list(self._waiting)
        for person, project in waiting:
            if not self._is_open(person, project):
                self._delete(f"/hub/api/users/{quote(person)}/servers/{quote(project)}")
            with self._guard:
                self._waiting.pop((person, project), None)
        return len(waiting)

    def _delete(self, path: str) -> None:
        token = required_secret(self._settings.keys_dir, HUB_CONTROLLER).hex()
        connection = UnixConnection(self._settings.run_dir / "hub.sock", timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("DELETE", path, headers={"Authorization": f"token {token}"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("hub", "The hub does not answer; it is told of the end later.") from error
        finally:
            connection.close()
        if response.status not in _DONE:
            raise Unavailable("hub", f"The hub answered {response.status} to the end of a workspace; tried again.")
