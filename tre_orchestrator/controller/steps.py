"""A step of the controller: a piece of work that is done again and again, apart from all others.

Each step has a thread of its own: a slow or failing one never delays another. After a failure it is tried again after
twice the time, up to the step's longest pause; a failure is logged by its code, counted, and shown by `/health` when
it lasts.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.errors import TreError

LONGEST_BACK_OFF = 60.0
_log = structlog.get_logger()

Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with the moment as argument, and how many seconds apart.

    `patience` is for how many seconds it may go without success before `/health` says so; `longest_pause` is how far
    apart its tries may get after failures.
    """

    name: str
    every: float
    act: Callable[[dt.datetime], object]
    patience: float = 30.0
    longest_pause: float = LONGEST_BACK_OFF


class Runner(threading.Thread):
    """Runs one step until told to end."""

    def __init__(self, step: Step, clock: Clock, ending: threading.Event, metrics: Metrics) -> None:
        super().__init__(name=step.name, daemon=True)
        self.step = step
        self._clock = clock
        self._ending = ending
        self._metrics = metrics
        self._failures = 0
        self._succeeded = time.monotonic()

    def run(self) -> None:
        """Do the step, wait, again."""
        while not self._ending.is_set():
            self.once()
            self._ending.wait(self.pause())

    def once(self) -> bool:
        """Do the step now; returns whether it succeeded. Nothing it raises gets out."""
        began = time.monotonic()
        try:
            self.step.act(self._clock())
        except TreError as error:
            self._failed(error.code, error.sentence)
            return False
        except Exception as error:  # noqa: BLE001 - one step's defect must not end the others' work
            _log.exception("step.crashed", step=self.step.name)
            self._failed("internal", type(error).__name__)
            return False
        finally:
            self._metrics.seconds.labels(self.step.name).observe(time.monotonic() - began)
        if self._failures:
            _log.info("step.recovered", step=self.step.name, failures=self._failures)
        self._failures = 0
        self._succeeded = time.monotonic()
        self._metrics.succeeded.labels(self.step.name).set_to_current_time()
        return True

    def why_late(self) -> str | None:
        """What is wrong when the step has not succeeded for a while, or None."""
        silent = time.monotonic() - self._succeeded
        if silent <= self.step.every + self.step.patience:
            return None
        return f"{self.step.name} has not succeeded for {silent:.0f} s ({self._failures} failures)"

    def _failed(self, code: str, sentence: str) -> None:
        self._failures += 1
        self._metrics.failures.labels(self.step.name, code).inc()
        if self._failures in (1, 10) or self._failures % 100 == 0:
            _log.warning("step.failed", step=self.step.name, code=code, reason=sentence, failures=self._failures)

    def pause(self) -> float:
        """Seconds until the next try."""
        longest = max(self.step.longest_pause, self.step.every)
        return min(longest, self.step.every * 2.0 ** min(self._failures, 10))
