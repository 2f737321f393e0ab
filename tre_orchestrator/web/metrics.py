"""Numbers for Prometheus, on this process's own socket only: what comes through the front door gets nothing here.

Labels are route patterns and status classes, never a path, a name or anything a person typed.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tre_orchestrator.errors import NotFound
from tre_orchestrator.governance.identity import HEADER
from tre_orchestrator.web.site import site_of

router = APIRouter()


class Metrics:
    """This process's counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tre_web_requests", "Answered requests", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram("tre_web_seconds", "Time to the first byte", ["route"], registry=self.registry)


class Measured:
    """Wraps the application: counts every answer by its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
                self._metrics.requests.labels(method, route, f"{message['status'] // 100}xx").inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, noted)


def refuse_the_front_door(request: Request) -> None:
    """The gate names itself on everything it passes on; these numbers are for the machine's own socket."""
    if any(name in request.headers for name in (HEADER, "X-Forwarded-For", "X-Forwarded-Host")):
        raise NotFound("no-page", "There is no such page, or you may not see it.")


@router.get("/metrics", include_in_schema=False, dependencies=[Depends(refuse_the_front_door)])
def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/health", include_in_schema=False, dependencies=[Depends(refuse_the_front_door)])
def health(request: Request) -> Response:
    """200 when the database answers."""
    with site_of(request).db.read() as session:
        session.connection().exec_driver_sql("SELECT 1")
    return JSONResponse({"ok": True, "process": "web"})
