"""R3: what a log line may hold of an exception."""

from __future__ import annotations

import json
import subprocess
import sys

CANARY = "999 123 4560"
_FAILS = f"""
import logging, structlog
from tre_orchestrator.ops.logs import configure_logs
configure_logs("web", "info")
def read(row):
    try:
        int(row)
    except ValueError as error:
        raise KeyError(row) from error
try:
    read({CANARY!r})
except KeyError as error:
    logging.getLogger("library").exception("it failed")
    structlog.get_logger().error("it.failed", exc_info=error)
    structlog.get_logger().info("it.went-on", ticket={CANARY!r})
"""


def test_R3_an_exception_is_logged_by_type_and_place_without_a_value() -> None:
    done = subprocess.run([sys.executable, "-c", _FAILS], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert CANARY not in done.stderr
    for line in lines[:2]:
        assert "KeyError" in line
        assert "ValueError" in line
        assert '"name": "read"' in line


_UNCAUGHT = f"""
import asyncio, threading, warnings, structlog
from tre_orchestrator.ops.logs import configure_logs
configure_logs("web", "info")
async def main():
    async def fail():
        raise ValueError({CANARY!r})
    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    del task
asyncio.run(main())
def fail():
    raise ValueError({CANARY!r})
thread = threading.Thread(target=fail); thread.start(); thread.join()
warnings.warn({CANARY!r})
structlog.get_logger().info("nested", of={{"token": {CANARY!r}}})
raise KeyError({CANARY!r})
"""


def test_R3_what_nobody_caught_is_a_line_without_a_value() -> None:
    done = subprocess.run([sys.executable, "-c", _UNCAUGHT], capture_output=True, text=True, check=False)
    assert CANARY not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 5
    assert [line["exception"][0]["exc_type"] for line in lines if "exception" in line][-1] == "KeyError"
