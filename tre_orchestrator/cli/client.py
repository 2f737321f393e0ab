"""The command line is an API client like any other: a person's own short-lived token, the same rules, the same words.

The token comes from the portal's account page and is kept in the person's own configuration folder (0600). With the
TRE's address (`--url`, `TRE_URL`) nothing else is read, so these commands work from any account and any machine;
without it, the state folder says the address. `*.localhost` is asked at 127.0.0.1: it resolves in browsers only.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from tre_orchestrator.catalogue.read import CatalogueErrors, Fault
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, Stale, TreError, Unavailable
from tre_orchestrator.ops.machine import is_loopback
from tre_orchestrator.settings import Settings, load_settings

_TIMEOUT_SECONDS = 60
_ERRORS: dict[int, type[TreError]] = {404: NotFound, 409: Stale, 422: Invalid, 503: Unavailable}

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="TRE_URL", help="The TRE's address; no state folder is read then. Default: of --state"
    ),
]


def token_path() -> Path:
    """Where the signed-in person's token lies."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "tre" / "token"


def is_token(text: str) -> bool:
    """Whether this has a token's form."""
    return re.fullmatch(r"tre_[!-~]+", text) is not None


@dataclass(frozen=True)
class Address:
    """Where people's pages are: what to connect to, and the name by which the gate knows them."""

    origin: str
    host: str
    port: int

    @property
    def header(self) -> str:
        """The value of the Host header."""
        return self.origin.partition("://")[2]


def address_of(url: str) -> Address:
    """The address in `url`. Raises `Invalid` unless it is one that a token may be sent to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https") or parts.path not in ("", "/") or "@" in parts.netloc:
        raise Invalid("url", f"'{url}' is not a TRE's address. Write it as https://tre.example.org.")
    if parts.scheme == "http" and not _is_here(host):
        raise Invalid("url", f"Your token would go to {host} in the clear. Use its https:// address.")
    return Address(f"{parts.scheme}://{parts.netloc}", host, port or (443 if parts.scheme == "https" else 80))


def _is_here(host: str) -> bool:
    return is_loopback(host) or host.endswith(".localhost")


@dataclass(frozen=True)
class ApiClient:
    """Calls the API of one TRE with one person's token."""

    address: Address
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
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            sentence = f"What answers at {self.address.origin} is not a TRE. Is the address right?"
            raise TreError("bad-answer", sentence) from error

    def _send(self, method: str, path: str, body: Any) -> bytes:
        headers = {
            "Host": self.address.header,
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        try:
            with closing(_connection(self.address)) as connection:
                connection.request(method, path, json.dumps(body) if body is not None else None, headers)
                response = connection.getresponse()
                raw = response.read()
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise Unavailable(
                "no-answer",
                f"Nothing answers at {self.address.origin} ({error or type(error).__name__}). Is the address right and "
                "the TRE running? On its machine `tre status` tells.",
            ) from error
        if response.status >= 300:
            raise _error(response.status, raw)
        return raw


def api(state: Path | None = None, url: str | None = None) -> ApiClient:
    """A client for the signed-in person, of the TRE at `url`, else of the one in `state`; raises `Refused` when nobody
    is signed in."""
    try:
        token = token_path().read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        token = ""
    if not is_token(token):
        raise Refused(
            [
                Refusal(
                    "not-signed-in",
                    "You are not signed in here. Get a token on your account page, then run `tre login`.",
                )
            ]
        )
    return ApiClient(address_of(url) if url else _address_in(load_settings(state)), token)


def _address_in(settings: Settings) -> Address:
    return Address(settings.people_origin, settings.site, settings.listen_port)


def _connection(address: Address) -> http.client.HTTPConnection:
    host = "127.0.0.1" if address.host.endswith("localhost") else address.host
    if address.origin.startswith("https:"):
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, address.port, timeout=_TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(host, address.port, timeout=_TIMEOUT_SECONDS)


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
