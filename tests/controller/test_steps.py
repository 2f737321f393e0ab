"""Steps: apart from each other, patient after failures, visible from outside."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tre_orchestrator.controller.app import RIGHTS_PAUSE
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.controller.server import Server
from tre_orchestrator.controller.steps import LONGEST_BACK_OFF, Runner, Step
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ops.health import UnixConnection

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)


def runner(act: Callable[[dt.datetime], object], every: float = 1.0) -> Runner:
    return Runner(Step("work", every, act), lambda: NOW, threading.Event(), Metrics())


def fails(error: Exception) -> Callable[[dt.datetime], object]:
    def act(_now: dt.datetime) -> None:
        raise error

    return act


def value(one: Runner, name: str, **labels: str) -> float | None:
    return one._metrics.registry.get_sample_value(name, {"step": "work", **labels})


def test_a_step_gets_the_moment_and_its_success_is_counted() -> None:
    seen: list[dt.datetime] = []
    one = runner(seen.append)
    assert one.once()
    assert seen == [NOW]
    assert value(one, "tre_controller_step_seconds_count") == 1


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("database", "Gone."), "database"), (ValueError("row 7: 12"), "internal")]
)
def test_a_failure_stays_inside_and_is_counted_by_its_code(error: Exception, code: str) -> None:
    one = runner(fails(error))
    assert not one.once()
    assert value(one, "tre_controller_step_failures_total", code=code) == 1


def test_pauses_double_up_to_a_minute_and_one_success_resets_them() -> None:
    failing = [True]

    def act(_now: dt.datetime) -> None:
        if failing[0]:
            raise Unavailable("x", "x")

    one = runner(act)
    pauses = []
    for _ in range(9):
        one.once()
        pauses.append(one.pause())
    assert pauses == [2, 4, 8, 16, 32, LONGEST_BACK_OFF, LONGEST_BACK_OFF, LONGEST_BACK_OFF, LONGEST_BACK_OFF]
    failing[0] = False
    one.once()
    assert one.pause() == 1


def test_a_rare_step_is_not_made_more_frequent_by_failing() -> None:
    one = runner(fails(Unavailable("x", "x")), every=3600)
    one.once()
    assert one.pause() == 3600


def test_a_step_without_success_is_ill_when_its_patience_is_over() -> None:
    failing = Step("work", 1.0, fails(Unavailable("x", "x")), patience=-2.0)
    one = Runner(failing, lambda: NOW, threading.Event(), Metrics())
    one.once()
    assert "has not succeeded" in (one.why_late() or "")
    assert runner(fails(Unavailable("x", "x"))).why_late() is None


def test_a_hanging_step_does_not_keep_another() -> None:
    release, done = threading.Event(), threading.Event()
    ending = threading.Event()
    metrics = Metrics()
    steps = [Step("slow", 1, lambda _now: release.wait(20)), Step("fast", 0.01, lambda _now: done.set())]
    runners = [Runner(step, lambda: NOW, ending, metrics) for step in steps]
    for one in runners:
        one.start()
    assert done.wait(10)
    ending.set()
    release.set()
    for one in runners:
        one.join(10)
        assert not one.is_alive()


def get(path: Path, target: str) -> tuple[int, bytes]:
    connection = UnixConnection(path)
    try:
        connection.request("GET", target)
        response: http.client.HTTPResponse = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_health_and_metrics_are_on_the_socket_and_nothing_else(state_dir: Path) -> None:
    path = state_dir / "run" / "controller.sock"
    ill: list[str] = []
    metrics = Metrics()
    metrics.workspaces.labels("running").set(3)
    server = Server(path, metrics.registry, lambda: ill)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert path.stat().st_mode & 0o077 == 0
        status, body = get(path, "/health")
        assert (status, json.loads(body)["ok"]) == (200, True)
        ill.append("rights has not succeeded for 31 s (4 failures)")
        status, body = get(path, "/health")
        assert (status, json.loads(body)["why"]) == (503, ill)
        status, body = get(path, "/metrics")
        assert status == 200
        assert b'tre_workspaces{state="running"} 3.0' in body
        assert get(path, "/")[0] == 404
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_P4_the_watch_of_rights_never_pauses_longer_than_a_lease_allows() -> None:
    """A lease of a minute must outlast a database that was away for half of one."""
    one = Runner(
        Step("work", 1.0, fails(Unavailable("database", "It is away.")), longest_pause=RIGHTS_PAUSE),
        lambda: NOW,
        threading.Event(),
        Metrics(),
    )
    for _ in range(40):
        one.once()
    assert one.pause() == RIGHTS_PAUSE
