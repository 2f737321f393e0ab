"""The gate as a whole: one server on TCP, the only one of this TRE, and one for health and metrics on a unix socket.

A request whose shape is odd (two hosts, two lengths, an old protocol, a strange target) is refused before anything
else looks at it, and its connection ends: what two readers could read differently reaches neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from aiohttp import web

from tre_orchestrator.errors import Refusal, Refused, TreError, Unavailable
from tre_orchestrator.gate import pages
from tre_orchestrator.gate.admin import admin_app
from tre_orchestrator.gate.connection import COOKIES_LIMIT, Server, why_odd_request
from tre_orchestrator.gate.core import Clock, Core
from tre_orchestrator.gate.headers import SERVER
from tre_orchestrator.gate.hosts import WorkspaceHost, hosts_of
from tre_orchestrator.gate.people import PeopleSide
from tre_orchestrator.gate.target import parse
from tre_orchestrator.gate.workspace import WorkspaceSide
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings

log = structlog.get_logger()
FLUSH_SECONDS = 1.0
KEEPALIVE_SECONDS = 75.0
_SHUTDOWN_SECONDS = 2.0
_AGAIN_SECONDS = 1.0


class Gate:
    """Takes every request that reaches the TRE."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._hosts = hosts_of(core.settings)
        self._people = PeopleSide(core)
        self._workspaces = WorkspaceSide(core)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        target = parse(request.raw_path)
        refusal = why_odd_request(request)
        if refusal is None and isinstance(target, Refusal):
            refusal = target
        if refusal is not None or isinstance(target, Refusal):
            return self._odd(refusal or Refusal("odd-request", "This request was refused."), 400)
        host = self._hosts.named(request.headers["Host"])
        if host is None:
            return self._odd(Refusal("other-host", "There is no such site here. Check the address."), 421)
        if isinstance(host, WorkspaceHost):
            return await self._workspaces.handle(request, host.workspace, target)
        return await self._people.handle(request, target)

    def _odd(self, refusal: Refusal, status: int) -> web.StreamResponse:
        self.core.metrics.refused.labels("none", refusal.code).inc()
        error = Refused([refusal])
        error.status = status
        answer = pages.problem(error)
        answer.headers["Server"] = SERVER
        answer.force_close()
        return answer

    async def keep_books(self) -> None:
        """Each second: write what was metered, and close connections to workspaces nobody may reach any more."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.core.store.flush()
                await self.core.pools.keep({right.socket for right in self.core.rights.in_use()})
                self.core.books_kept()
            except TreError as error:
                log.warning("gate.meter-unwritten", code=error.code)
            except Exception as error:  # noqa: BLE001 - tried again in a second; without this nothing is counted any more
                log.error("gate.books-failed", error=type(error).__name__)

    async def close(self) -> None:
        """Write what was counted and let everything go."""
        try:
            await self.core.store.flush(at_end=True)
        except TreError as error:
            log.warning("gate.meter-unwritten", code=error.code)
        await self._people.close()
        await self.core.pools.close()
        self.core.store.close()


@contextlib.asynccontextmanager
async def serving(settings: Settings, db: Database, clock: Clock) -> AsyncIterator[Gate]:
    """The gate, listening, until the context ends. Raises `Unavailable` when it cannot listen."""
    core = Core(settings, db, clock)
    gate = Gate(core)
    server = Server(
        gate.handle,
        core.addresses,
        access_log=None,
        max_field_size=COOKIES_LIMIT,
        handler_cancellation=True,
        keepalive_timeout=KEEPALIVE_SECONDS,
        auto_decompress=False,
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS)
    admin = web.AppRunner(admin_app(core), access_log=None, handle_signals=False)
    tasks = []
    try:
        await asyncio.to_thread(core.files)
        await runner.setup()
        await admin.setup()
        socket = settings.run_dir / "gate.sock"
        socket.unlink(missing_ok=True)
        await web.UnixSite(admin, str(socket)).start()
        socket.chmod(0o600)
        await _listen(runner, settings)
        kept = {"rights": core.rights.watch, "guard": core.rights.guard, "books": gate.keep_books}
        tasks = [asyncio.create_task(_kept(name, work)) for name, work in kept.items()]
        log.info("gate.ready", address=f"{settings.listen_host}:{settings.listen_port}")
        yield gate
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
        await admin.cleanup()
        await gate.close()


async def _kept(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a task that has no end; begin it again when it ends all the same."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - what the gate's safety hangs on must not end unnoticed
            log.error("gate.task-failed", task=name, error=type(error).__name__)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _listen(runner: web.ServerRunner, settings: Settings) -> None:
    where = f"{settings.listen_host}:{settings.listen_port}"
    try:
        await web.TCPSite(runner, settings.listen_host, settings.listen_port, backlog=512).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = f"Something else listens on {where} already. End it, or give another port with --port."
        else:
            sentence = f"Cannot listen on {where}: {error.strerror}. Give another address or port."
        raise Unavailable("cannot-listen", sentence) from error
