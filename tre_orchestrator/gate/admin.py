"""Health and metrics, on the gate's own unix socket; the front door has no way to them."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import generate_latest

from tre_orchestrator.errors import TreError
from tre_orchestrator.gate.core import Core


def admin_app(core: Core) -> web.Application:
    """GET /health and GET /metrics."""

    async def health(_request: web.Request) -> web.Response:
        try:
            await core.store.ping()
            why = core.why_unwell()
        except TreError as error:
            why = error.sentence
        answer = {
            "ok": not why,
            "why": why,
            "rights_age": round(core.rights.round_age, 1),
            "books_age": round(core.books_age, 1),
            "process": "gate",
            "rights": len(core.rights.in_use()),
            "connections": core.rights.connections,
            "lab_files": len(core.files().files),
        }
        return web.json_response(answer, status=503 if why else 200)

    async def metrics(_request: web.Request) -> web.Response:
        core.observe()
        return web.Response(body=generate_latest(core.metrics.registry), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    return app
