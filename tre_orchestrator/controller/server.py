"""`GET /health` and `GET /metrics` on the controller's own unix socket; the front door has no way to them."""

from __future__ import annotations

import json
import os
import socketserver
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers for the controller. `why_ill` says what is wrong, each in a few words; nothing: it is well."""

    daemon_threads = True

    def __init__(self, path: Path, registry: CollectorRegistry, why_ill: Callable[[], list[str]]) -> None:
        path.unlink(missing_ok=True)
        self.registry = registry
        self.why_ill = why_ill
        mask = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        finally:
            os.umask(mask)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """The two paths; 404 for every other."""
        if self.path == "/health":
            trouble = self.server.why_ill()
            body = json.dumps({"ok": not trouble, "process": "controller", "why": trouble}).encode()
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK, "application/json", body)
        elif self.path == "/metrics":
            self._answer(
                HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", generate_latest(self.server.registry)
            )
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/health and /metrics are here.\n")

    def address_string(self) -> str:
        """A unix socket's client has no address."""
        return "local"

    def log_message(self, format: str, *args: object) -> None:
        """Requests for health and metrics are not logged."""

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
