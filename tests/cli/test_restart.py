"""`tre restart` says that it is done once it is, and why not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tre_orchestrator.cli import running
from tre_orchestrator.errors import TreError
from tre_orchestrator.ops import health, machine
from tre_orchestrator.ops.health import Health, ProcessRecord, write_records
from tre_orchestrator.settings import Settings

OLD = [ProcessRecord(name, 10 + place, "then", 1, None) for place, name in enumerate(health.PROCESSES)]
NEW = [replace(record, pid=record.pid + 100, restarts=2) for record in OLD]
Script = Callable[[list[list[ProcessRecord]], set[str]], None]


@pytest.fixture
def restart(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Runs the command while the status file goes through these contents, one at each look; `silent` never answer."""

    def run(contents: list[list[ProcessRecord]], silent: set[str]) -> None:
        write_records(settings, OLD)
        looks = iter(contents)

        def look(_settings: Settings) -> int | None:
            if not signalled:
                return 7
            content = next(looks, None)
            if content is not None:
                write_records(settings, content)
            return 7 if content != [] else None

        signalled: list[int] = []
        monkeypatch.setattr(machine, "running_process", look)
        monkeypatch.setattr(machine, "signal_running", lambda _settings, process, _number: signalled.append(process))
        monkeypatch.setattr(health, "health_of", lambda _settings, name: Health(name, name not in silent, ""))
        monkeypatch.setattr(running, "_PATIENCE_SECONDS", 0.5)
        monkeypatch.setattr(running, "load_settings", lambda _state: settings)
        running.restart()
        assert signalled == [7]

    return run


def test_it_waits_until_every_process_is_new_and_answers(restart: Script, capsys: pytest.CaptureFixture[str]) -> None:
    stopping = [replace(record, pid=0) for record in OLD]
    restart([OLD, stopping, [*NEW[:1], *stopping[1:]], NEW], set())
    assert "Restarted; every process answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("contents", "silent", "sentence"),
    [
        ([OLD], set(), "Not every process has answered within"),
        ([NEW], {"web"}, "Not every process has answered within"),
        ([[*NEW[:3], replace(NEW[3], pid=0)]], set(), "Not every process has answered within"),
        ([NEW[:3]], set(), "Not every process has answered within"),
        (
            [[*NEW[:3], replace(NEW[3], pid=0, last_exit="ended with code 1")]],
            set(),
            "controller ended with code 1 after",
        ),
        ([[]], set(), "has ended meanwhile"),
    ],
    ids=["not taken", "silent", "ended", "missing", "failed", "all over"],
)
def test_a_restart_that_did_not_work_is_an_error(
    restart: Script, contents: list[list[ProcessRecord]], silent: set[str], sentence: str
) -> None:
    with pytest.raises(TreError, match=sentence) as error:
        restart(contents, silent)
    assert error.value.code == "not-restarted"
