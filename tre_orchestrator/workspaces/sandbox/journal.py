"""The supervisor's log: one JSON object per line on standard error. Ids, numbers and reasons only (R3)."""

from __future__ import annotations

import datetime as dt
import json
import sys


def note(event: str, **facts: object) -> None:
    """Write down what happened."""
    entry = {"timestamp": dt.datetime.now(dt.UTC).isoformat(), "level": "info", "event": f"supervisor.{event}", **facts}
    print(json.dumps(entry, default=str), file=sys.stderr, flush=True)
