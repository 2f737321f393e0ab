"""The supervisor's log: one JSON object per line on standard error. Ids, numbers and reasons only (R3)."""

from __future__ import annotations

import datetime as dt
import json
import os
from contextlib import suppress


def told(error: BaseException) -> str:
    """What may be said of an error: the kernel's words or its type; its text may hold a file's name (R3)."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def note(event: str, **facts: object) -> None:
    """Write down what happened. A full disk must not end people's workspaces, so a line may be lost."""
    entry = {"timestamp": dt.datetime.now(dt.UTC).isoformat(), "level": "info", "event": f"supervisor.{event}", **facts}
    with suppress(OSError):
        os.write(2, json.dumps(entry, default=str).encode() + b"\n")
