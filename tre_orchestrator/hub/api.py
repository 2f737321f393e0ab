"""A small client of the hub's REST API for the web application and the controller, over the hub's unix socket.

Each caller has its own token with its own scopes (`hub/config.py`). Every failure is a `TreError` whose sentence is the
hub's own where it gave one: the reason why a workspace cannot start reaches the person as the spawner said it.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import aiohttp

from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import NotFound, Refusal, Refused, Unavailable
from tre_orchestrator.governance.secrets import HUB_CONTROLLER, HUB_GATE, HUB_WEB, required_secret
from tre_orchestrator.ops.health import UnixConnection
from tre_orchestrator.settings import Settings

Service = Literal["gate", "web", "controller"]
SECRETS: dict[Service, str] = {"gate": HUB_GATE, "web": HUB_WEB, "controller": HUB_CONTROLLER}
_TIMEOUT_SECONDS = 30.0
_PROGRESS_TIMEOUT_SECONDS = 300.0
_LINE_LIMIT = 65_536


def service_token(settings: Settings, service: Service) -> str:
    """The API token of one of our own services at the hub; raises `Unavailable` when its secret is missing (P5)."""
    return required_secret(settings.keys_dir, SECRETS[service]).hex()


@dataclass(frozen=True)
class HubApi:
    """Calls the hub as one of our services."""

    settings: Settings
    service: Service

    def ensure_user(self, person: PersonId) -> None:
        """Make the hub know this person of the catalogue; knowing them already is no error."""
        status, body = self._call("PUT", f"tre/people/{quote(person)}")
        if status != 204:
            raise _failure(status, body)

    def start_server(self, person: PersonId, project: ProjectName, *, mfa: bool = False) -> bool:
        """Ask for the workspace; True when this call started it, False when it runs or is starting already.

        `mfa` says whether the session that asks proved a second factor. Returns before the workspace is ready: follow
        `progress`. Raises `Refused` with the spawner's reason when the start failed at once.
        """
        status, body = self._call("POST", _server(person, project), {"user_options": {"mfa": mfa}})
        if status in (201, 202):
            return True
        if status == 400 and _is_there_already(_message(body)):
            return False
        raise _failure(status, body)

    def stop_server(self, person: PersonId, project: ProjectName) -> None:
        """End it because its person asked, also while it starts; one that does not run is no error."""
        status, body = self._call("POST", f"tre/people/{quote(person)}/stops/{quote(project)}")
        if status != 204:
            raise _failure(status, body)
        status, body = self._call("DELETE", _server(person, project))
        if status not in (202, 204, 404):
            raise _failure(status, body)

    def server(self, person: PersonId, project: ProjectName) -> dict[str, Any] | None:
        """What the hub knows of the running or starting server: `ready`, `pending`, `started`…; None: not started."""
        status, body = self._call("GET", f"users/{quote(person)}")
        if status == 404:
            return None
        if status != 200:
            raise _failure(status, body)
        found = json.loads(body).get("servers", {}).get(project)
        return found if isinstance(found, dict) else None

    async def progress(self, person: PersonId, project: ProjectName) -> AsyncIterator[dict[str, Any]]:
        """The start's events as they come: {"progress": 0..100, "message": str}, the last with "ready" or "failed".

        Holds no thread: any number of pages may follow a start.
        """
        url = f"http://localhost/hub/api/{_server(person, project)}/progress"
        waits = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_SECONDS, sock_read=_PROGRESS_TIMEOUT_SECONDS)
        connector = aiohttp.UnixConnector(path=str(self.settings.run_dir / "hub.sock"))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=waits, read_bufsize=_LINE_LIMIT) as client,
                client.get(url, headers=self._headers()) as response,
            ):
                if response.status != 200:
                    raise _failure(response.status, await response.read())
                async for line in response.content:
                    if line.startswith(b"data:"):
                        yield _event(line[5:])
        except (aiohttp.ClientError, OSError) as error:
            raise _no_answer(error) from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"token {service_token(self.settings, self.service)}", "Accept": "application/json"}

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = UnixConnection(self.settings.run_dir / "hub.sock", timeout=_TIMEOUT_SECONDS)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, f"/hub/api/{path}", payload, self._headers())
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise _no_answer(error) from error
        finally:
            connection.close()


def _server(person: PersonId, project: ProjectName) -> str:
    return f"users/{quote(person)}/servers/{quote(project)}"


def _event(data: bytes) -> dict[str, Any]:
    event = json.loads(data)
    event.pop("html_message", None)
    event.pop("url", None)
    if event.get("failed"):
        told = str(event.get("message", "")).removeprefix("Spawn failed: ")
        event["message"] = "The start was stopped." if told == "Spawn cancelled" else told
    elif event.get("ready"):
        event["message"] = "Ready"
    return dict(event)


def _message(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("message", "")) if isinstance(found, dict) else ""


def _is_there_already(message: str) -> bool:
    return "already running" in message or "pending" in message


def _failure(status: int, body: bytes) -> Exception:
    message = _message(body) or f"The hub answered {status}."
    if status == 404:
        return NotFound("hub-not-found", message)
    if status >= 500:
        return Unavailable("hub", message)
    return Refused([Refusal("hub-refused", message)])


def _no_answer(error: Exception) -> Unavailable:
    return Unavailable("hub", f"The hub does not answer ({error}). It may be starting; try again in a moment.")
