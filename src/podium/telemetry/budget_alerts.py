"""Soft marks of budgets that were reached, as a log line and metrics."""

import time
from collections.abc import Sequence

import structlog

from podium.economics.budgets.values import Crossing
from podium.telemetry.process_metrics import ProcessMetrics

__all__ = ["BudgetAlerts"]

_log = structlog.get_logger("podium.budgets")
_MAX_SERIES = 1000


class BudgetAlerts:
    """Tells each crossing that it is called with; budgets tell them once a period."""

    def __init__(self) -> None:
        self._told = 0
        self._last: dict[tuple[str, ...], float] = {}

    def __call__(self, crossings: Sequence[Crossing]) -> None:
        """Log and count."""
        for one in crossings:
            self._told += 1
            mark = (one.budget, f"{one.share:g}")
            if mark in self._last or len(self._last) < _MAX_SERIES:
                self._last[mark] = time.time()
            _log.warning(
                "budget_soft_mark_reached",
                budget=one.budget,
                subject={name: value for name, value in one.subject if name != "user"},  # who a user is, is personal
                share=one.share,
                settled=one.settled,
                amount=one.amount,
                unit="nanousd" if one.unit == "usd" else one.unit,
            )

    def register(self, metrics: ProcessMetrics) -> None:
        """Expose them on the page of `metrics`."""
        metrics.counter(
            "podium_budget_soft_marks_total", "Soft marks of budgets that were reached.", lambda: self._told
        )
        metrics.labelled_gauge(
            "podium_budget_soft_mark_last_unix_seconds",
            "When a soft mark of a budget was last reached, by whomever.",
            ("budget", "share"),
            lambda: dict(self._last),
        )
