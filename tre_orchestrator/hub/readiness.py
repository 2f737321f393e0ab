"""Whether the notebook server behind a workspace's listener answers yet: one small request, one bounded answer.

The hub must not read more from a workspace than a status line, since whatever runs there may send without end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyterhub import __version__ as hub_version
from jupyterhub.objects import Server

_ASK = b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_LINE_LIMIT = 1024
_TRY_SECONDS = 10.0
_PAUSE_SECONDS = 0.05
_ASK_SECONDS = 0.5

WhyOver = Callable[[], Awaitable[Exception | None]]
"""Why a workspace that is waited for has ended, or None while it has not."""


async def answers(socket: Path) -> bool:
    """Whether a server there answers 200 now."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LINE_LIMIT)
            writer.write(_ASK)
            line = await reader.readline()
            return line.startswith(b"HTTP/1.1 200")
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def wait_until_answers(socket: Path, timeout: float, why_over: WhyOver) -> None:
    """Return when it answers; raises `TimeoutError` with a sentence after `timeout` seconds.

    `why_over` is asked now and then; what it gives is raised, since an ended workspace will never answer.
    """
    loop = asyncio.get_running_loop()
    began = asked = loop.time()
    while not await answers(socket):
        now = loop.time()
        if now >= began + timeout:
            raise TimeoutError(f"The notebook server did not answer within {timeout:g} s.")
        if now >= asked + _ASK_SECONDS:
            asked = now
            if (error := await why_over()) is not None:
                raise error
        await asyncio.sleep(_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What JupyterHub looks at after waiting: the version header that its own servers send."""

    headers: dict[str, str] = field(default_factory=lambda: {"X-JupyterHub-Version": hub_version})


class WorkspaceServer(Server):  # type: ignore[misc]
    """JupyterHub's record of a server, waiting at the workspace's own listener instead of at an address."""

    socket: Path | None = None
    why_over: WhyOver | None = None

    def wait_up(self, timeout: float = 10, http: bool = False, ssl_context: Any = None, extra_path: str = "") -> Any:
        """Wait for the notebook server behind the listener."""
        return self._wait(timeout)

    async def _wait(self, timeout: float) -> Answer:
        if self.socket is None or self.why_over is None:
            raise TimeoutError("It is not known where this workspace listens.")
        await wait_until_answers(self.socket, timeout, self.why_over)
        return Answer()
