"""The web application: portal, airlock and governance pages, and the API that `tre` uses.

`create_app` gets everything it needs, so that tests put in their own clock, hub and courier; `surroundings` makes the
real ones from settings. The routes call the packages below; no rule is decided here.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from tre_orchestrator.airlock.store import open_store
from tre_orchestrator.governance.secrets import IDENTITY, required_secret
from tre_orchestrator.hub.api import HubApi
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ops.health import health, read_records
from tre_orchestrator.settings import Settings
from tre_orchestrator.web import metrics
from tre_orchestrator.web.api import airlock, governance, me
from tre_orchestrator.web.errors import Caught, add_handlers
from tre_orchestrator.web.pages import (
    account,
    approvals,
    datasets,
    files,
    home,
    ops,
    projects,
    public,
    requests,
    review,
    workspace,
)
from tre_orchestrator.web.security import Guarded
from tre_orchestrator.web.site import LedgerKey, Machine, Site
from tre_orchestrator.web.streams import Streams
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend

PAGES = (home, workspace, projects, requests, files, review, datasets, approvals, ops, account, public)
API = (me, governance, airlock)
_STATIC = Path(__file__).parent / "static"


def surroundings(settings: Settings, db: Database) -> Site:
    """The real site. Raises `Unavailable` when a secret is missing (P5)."""
    signer = load_or_create_signer(settings.keys_dir)
    return Site(
        settings=settings,
        db=db,
        clock=lambda: dt.datetime.now(dt.UTC),
        identity_key=required_secret(settings.keys_dir, IDENTITY),
        hub=HubApi(settings, "web"),
        courier=SandboxBackend(settings),
        store=open_store(settings),
        machine=Machine(health, read_records),
        ledger_key=LedgerKey(signer.name, signer.key_id, signer.public_pem),
    )


def create_app(site: Site) -> FastAPI:
    """The application for this site."""
    app = FastAPI(title="Trusted Research Environment", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.site = site
    app.state.metrics = metrics.Metrics()
    app.state.streams = Streams()
    for part in (*PAGES, *API, metrics):
        app.include_router(part.router)
    app.mount("/static", _Static(directory=_STATIC), name="static")
    add_handlers(app)
    app.add_middleware(Caught)
    app.add_middleware(metrics.Measured, metrics=app.state.metrics)
    app.add_middleware(Guarded)
    return app


class _Static(StaticFiles):
    """Our own few files; a browser asks again each time and mostly hears that nothing changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with its caching rule."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
