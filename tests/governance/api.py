"""A loopback HTTP server that answers like the API, so that commands are tried with their real client."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tre_orchestrator.errors import TreError

TOKEN = "tre_" + "t" * 43


@dataclass
class Api:
    """What was asked, and how it is answered; an answer that raises `TreError` becomes its problem."""

    answer: Callable[[str, str, Any], Any]
    port: int = 0
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def serving(answer: Callable[[str, str, Any], Any]) -> Iterator[Api]:
    """Serve `answer(method, path, body)` until the end of the block."""
    api = Api(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve(None)

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _serve(self, body: Any) -> None:
            api.asked.append((self.command, self.path, body))
            api.tokens.add(self.headers["Authorization"])
            try:
                status, content = 200, api.answer(self.command, self.path, body)
            except TreError as error:
                status, content = error.status, error.problem()
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
