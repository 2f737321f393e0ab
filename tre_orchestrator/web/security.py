"""Headers on every answer, and the size of what is taken in. Plain ASGI, so that nothing a route does gets around it.

People's pages run no inline script and load nothing from elsewhere. Only the workspace page may frame something, and
only workspaces' own hosts.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_MAX = 4 * 1024 * 1024
"""Bytes of a form or a JSON document; files never come this way."""
FRAMES_KEY = "tre_frames"
"""A route puts the origins that its page may frame (and post a ticket to) into `request.scope` under this key."""

DOWNLOAD_POLICY = "sandbox; default-src 'none'"
"""The policy of a researcher's file that is handed out as it is: the only one a response may set itself (A6)."""
_OTHERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def content_policy(frames: str = "") -> str:
    """The content security policy of a people's page; `frames` are origins that it may frame and post a form to."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "object-src 'none'",
            "frame-ancestors 'none'",
            f"form-action 'self' {frames}".strip(),
            "frame-src " + (frames or "'none'"),
        )
    )


class BodyTooLargeError(Exception):
    """More bytes came than `BODY_MAX`."""


class Guarded:
    """Wraps the application: adds the headers, and stops reading a body that is too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        started = False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_MAX:
                raise BodyTooLargeError
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                if headers.get("Content-Security-Policy") != DOWNLOAD_POLICY:
                    headers["Content-Security-Policy"] = content_policy(scope.get(FRAMES_KEY, ""))
                for name, value in _OTHERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self._app(scope, counted, with_headers)
        except BodyTooLargeError:
            if started:
                raise
            body = f"This is more than {BODY_MAX // 1024} KiB, which is more than any form of this TRE needs.".encode()
            plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await with_headers({"type": "http.response.start", "status": 413, "headers": plain})
            await send({"type": "http.response.body", "body": body})
