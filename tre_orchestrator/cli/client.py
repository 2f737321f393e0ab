"""The command line is an API client like any other: a person's own short-lived token, the same rules, the same words.

The token comes from the portal's account page and is kept in the person's own configuration folder (0600). Requests go
to the gate by address with the site's name as Host, because `*.localhost` names resolve in browsers only.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tre_orchestrator.catalogue.read import CatalogueErrors, Fault
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, Stale, TreError, Unavailable
from tre_orchestrator.settings import Settings, load_settings

_TIMEOUT_SECONDS = 60
_ERRORS: dict[int, type[TreError]] = {404: NotFound, 409: Stale, 422: Invalid, 503: Unavailable}


def token_path() -> Path:
    """Where the signed-in person's token lies."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "tre" / "token"


@dataclass(frozen=True)
class ApiClient:
    """Calls the API of one TRE with one person's token."""

    settings: Settings
    token: str

    def get(self, path: str) -> Any:
        """The JSON answer of `GET path`; raises the `TreError` the API gave."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON answer of `POST path` with a JSON body; raises the `TreError` the API gave."""
        return self._json("POST", path, body)

    def download(self, path: str) -> bytes:
        """The bytes of `GET path`."""
        return self._send("GET", path, None)

    def _json(self, method: str, path: str, body: Any) -> Any:
        raw = self._send(method, path, body)
        return json.loads(raw) if raw else None

    def _send(self, method: str, path: str, body: Any) -> bytes:
        connection = _connection(self.settings)
        headers = {
            "Host": self.settings.site + self.settings.port_suffix,
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            raw = response.read()
        except OSError as error:
            raise Unavailable(
                "no-answer",
                f"Nothing answers at {self.settings.people_origin} ({error}). Is the TRE running? See `tre status`.",
            ) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise _error(response.status, raw)
        return raw


def api(settings: Settings | None = None) -> ApiClient:
    """A client for the signed-in person; raises `Refused` when nobody is signed in."""
    path = token_path()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise Refused(
            [
                Refusal(
                    "not-signed-in",
                    "You are not signed in here. Get a token on your account page, then run `tre login`.",
                )
            ]
        ) from None
    return ApiClient(settings or load_settings(), token)


def _connection(settings: Settings) -> http.client.HTTPConnection:
    host = "127.0.0.1" if settings.site.endswith("localhost") else settings.site
    if settings.scheme == "https":
        return http.client.HTTPSConnection(
            host, settings.listen_port, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(host, settings.listen_port, timeout=_TIMEOUT_SECONDS)


def _error(status: int, raw: bytes) -> TreError:
    try:
        problem = json.loads(raw)
        code, sentence = str(problem["code"]), str(problem["title"])
    except (ValueError, KeyError, TypeError):
        return TreError("bad-answer", f"The TRE answered {status} without a reason. See its log.", status=status)
    if status == 422 and isinstance(problem.get("errors"), list):
        listed = problem["errors"]
        return CatalogueErrors(Fault(one["object"], one["line"], one["field"], one["reason"]) for one in listed)
    if status == 403 and isinstance(problem.get("reasons"), list):
        return Refused([Refusal(reason["code"], reason["sentence"]) for reason in problem["reasons"]])
    return _ERRORS.get(status, TreError)(code, sentence, status=status)
