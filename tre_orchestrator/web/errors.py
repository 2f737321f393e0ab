"""Every failure as a page for people and as problem+json (RFC 9457) for programs, from the same code and sentence.

What was not foreseen is logged with a reference, as the places in the code it went through and without any value (R3);
the person gets the reference.
"""

from __future__ import annotations

import secrets
import traceback
from contextlib import suppress
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tre_orchestrator.errors import Invalid, NotFound, TreError
from tre_orchestrator.web.render import page
from tre_orchestrator.web.security import BodyTooLargeError
from tre_orchestrator.web.visitors import SignInError, visitor_or_none

_log = structlog.get_logger()
_FRAMES = 12
_HEADINGS = {
    401: "Sign in first",
    403: "This is not allowed",
    404: "There is nothing here",
    405: "This cannot be done here",
    409: "It changed meanwhile",
    422: "Something in the form is not right",
    503: "Not available at the moment",
}


def for_programs(request: Request) -> bool:
    """Whether the answer goes to a program."""
    return request.url.path.startswith("/api/")


def answer(request: Request, error: TreError) -> Response:
    """The error as this caller expects it."""
    if for_programs(request):
        return JSONResponse(error.problem(), status_code=error.status, media_type="application/problem+json")
    if isinstance(error, SignInError) and request.method in ("GET", "HEAD"):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/gate/login?next={quote(request.url.path + query)}", status_code=303)
    with suppress(TreError):  # the frame around the error is the person's own where they may have one
        visitor_or_none(request)
    heading = _HEADINGS.get(error.status, "This did not work")
    return page(request, "error.html", problem=error, heading=heading)


def add_handlers(app: FastAPI) -> None:
    """Teach the application these answers."""

    @app.exception_handler(TreError)
    def _known(request: Request, error: TreError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    def _malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["loc"] and first["loc"][0] == "path":
            return answer(request, NotFound("no-page", "There is no such page, or you may not see it."))
        place = ".".join(str(part) for part in first["loc"])
        return answer(request, Invalid("request", f"{place}: {first['msg']}."))

    @app.exception_handler(HTTPException)
    def _plain(request: Request, error: HTTPException) -> Response:
        sentences = {404: "There is no such page, or you may not see it.", 405: "This address does not take that."}
        sentence = sentences.get(error.status_code, str(error.detail))
        return answer(request, TreError(f"http-{error.status_code}", sentence, status=error.status_code))


class Caught:
    """Wraps the routes: what nobody foresaw becomes an answer too, and a line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except BodyTooLargeError:
            raise
        except Exception as error:  # noqa: BLE001 - the last wall: everything becomes a reference and a log line
            reference = _log_unforeseen(scope, error)
            if scope["type"] != "http" or started:
                return
            sentence = f"Something nobody foresaw failed. Look whether it was done. Tell ops reference {reference}."
            unforeseen = TreError("unforeseen", sentence, status=500)
            response = await run_in_threadpool(answer, Request(scope), unforeseen)
            await response(scope, receive, send)


def _log_unforeseen(scope: Scope, error: Exception) -> str:
    """Where it happened and of which type it was: no message, no values, which could hold what people typed (R3)."""
    reference = secrets.token_hex(4)
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    route = getattr(scope.get("route"), "path", "")
    _log.error("unforeseen", reference=reference, route=route, error=type(error).__name__, where=where)
    return reference
