"""However many pages follow a start, everybody else's pages are answered."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.web.browsing import served
from tests.web.world import PEOPLE, World
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import TreError
from tre_orchestrator.governance.identity import HEADER
from tre_orchestrator.web import streams
from tre_orchestrator.web.streams import STREAMS_MAX, Streams

PROGRESS = "/projects/winter-pressures/workspace/progress"
TABS = 60
"""More than the web application has threads for requests."""


def ask(world: World, origin: str, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=10)
    connection.request("GET", path, headers={HEADER: world.header(PEOPLE["analyst"])})
    return connection, connection.getresponse()


def test_no_number_of_open_progress_streams_stops_the_site(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(*_: object) -> AsyncIterator[dict[str, Any]]:
        yield {"progress": 5, "message": "Begin"}
        await asyncio.Event().wait()

    monkeypatch.setattr(world.hub, "progress", endless)
    monkeypatch.setattr(streams, "STREAMS_MAX", TABS)
    with served(world) as origin, ExitStack() as stack:
        for _ in range(TABS):
            connection, answer = ask(world, origin, PROGRESS)
            stack.callback(connection.close)
            assert b"Begin" in answer.readline()
        connection, answer = ask(world, origin, "/")
        stack.callback(connection.close)
        assert answer.status == 200
        connection, answer = ask(world, origin, PROGRESS)
        stack.callback(connection.close)
        told = answer.read()
        assert b"many tabs" in told
        assert b"failed" not in told


def test_a_person_holds_so_many_streams_and_no_more_and_nobody_elses_count() -> None:
    counted = Streams()
    ana, ben = PersonId("ana-silva"), PersonId("ben-okafor")
    with ExitStack() as stack:
        for _ in range(STREAMS_MAX):
            stack.enter_context(counted.one(ana))
        with pytest.raises(TreError, match="many tabs"):
            stack.enter_context(counted.one(ana))
        stack.enter_context(counted.one(ben))
    with counted.one(ana):
        pass
