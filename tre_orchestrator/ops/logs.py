"""Structured logs: one JSON object a line on standard error, with no row value, secret or token in it (R3).

Code logs events with named fields of its own choosing; it never logs a request's body, a header, a query or a file's
content. As a second wall, fields whose name speaks of a secret are blanked here, and of an exception only its type and
the places it passed are kept: its message may quote what it failed on.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_SECRET_WORDS = ("token", "secret", "password", "cookie", "ticket", "authorization", "csrf")


def configure_logs(process: str, level: str = "info") -> None:
    """Send structlog's and the standard library's records to standard error as JSON lines named `process`."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(places),
        blank_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processor=structlog.processors.JSONRenderer(),
        )
    )
    handler.addFilter(_shorten)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda said: _uncaught(said.exc_type, said.exc_value, said.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """What nobody caught is a log line like any other."""
    if error is not None:
        logging.getLogger("uncaught").critical("uncaught", exc_info=(kind, error, trace))


def _shorten(record: logging.LogRecord) -> bool:
    """asyncio and warnings put values into their texts; the first words say what happened and where."""
    if record.name in ("asyncio", "py.warnings"):
        text = record.getMessage().partition("\n")[0]
        place = _WARNING.match(text) if record.name == "py.warnings" else None
        record.msg, record.args = place[0] if place else text.partition("=")[0], ()
    return True


_WARNING = re.compile(r"\S+:\d+: \w+")
_STACKS = ExceptionDictTransformer(show_locals=False)


def places(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    """Types and places of an exception and its causes; no message, no value."""
    kept = ("exc_type", "is_cause", "frames")
    return [{key: stack[key] for key in kept} for stack in _STACKS(exc_info)]


def blank_secrets(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank every field whose name speaks of a secret."""
    for key, value in event.items():
        if key != "event" and any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "(blanked)"
        elif isinstance(value, dict):
            event[key] = blank_secrets(_logger, _name, dict(value))
    return event
