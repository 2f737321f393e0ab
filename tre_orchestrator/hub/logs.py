"""The hub's log: one JSON object a line, as the other processes write, with no query, token or cookie in it (R3).

JupyterHub and its libraries put addresses with their queries, request headers and identity tokens into messages; here
requests are logged by path alone, and whatever looks like a query or a token is cut out of everything else.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from typing import Any

from jupyterhub.metrics import prometheus_log_method

from tre_orchestrator.ops.logs import places

_QUERY = re.compile(r"\?[^\s'\"<>)]+")
_JWT = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)+")
_LONG = re.compile(r"(?<![\w.-])[A-Za-z0-9_-]{32,}(?![\w-])")
_REQUESTS = logging.getLogger("tornado.access")


class JsonFormatter(logging.Formatter):
    """A record as a JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "event": scrubbed(record.getMessage()),
            "level": record.levelname.lower(),
            "logger": f"{record.name}.{record.module}",
            "process": "hub",
            "timestamp": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = places(record.exc_info)
        return json.dumps(line)


def is_wanted(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: not the sign-in form's tokens, nor a failed request's headers."""
    message = str(record.msg)
    return not message.startswith(("Setting new xsrf cookie", "{\n"))


def scrubbed(text: str) -> str:
    """The text without queries and without anything that looks like a token."""
    return _LONG.sub("(blanked)", _JWT.sub("(blanked)", _QUERY.sub("?(blanked)", text)))


def log_request(handler: Any) -> None:
    """One line for a request: method, path, status, time. Feeds the hub's own metrics as its default does."""
    request, status = handler.request, handler.get_status()
    quiet = status < 400 and request.path.startswith(("/hub/static/", "/hub/health", "/hub/metrics"))
    level = logging.DEBUG if quiet else logging.INFO if status < 500 else logging.WARNING
    milliseconds = 1000.0 * request.request_time()
    _REQUESTS.log(level, "%d %s %s %.1fms", status, request.method, request.path, milliseconds)
    prometheus_log_method(handler)


LOGGING: dict[str, Any] = {
    "formatters": {"console": {"class": "tre_orchestrator.hub.logs.JsonFormatter", "format": "%(message)s"}},
    "filters": {"wanted": {"()": "tre_orchestrator.hub.logs.wanted"}},
    "handlers": {"console": {"filters": ["wanted"]}},
}
"""Merged into what JupyterHub gives to `logging.config.dictConfig`."""


class _Wanted(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return is_wanted(record)


def wanted() -> logging.Filter:
    """The filter that `LOGGING` names."""
    return _Wanted()
