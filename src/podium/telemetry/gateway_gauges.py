"""The state of a gateway as gauges. `app.py` says where each figure is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podium.telemetry.exposition import Values
from podium.telemetry.process_metrics import ProcessMetrics

__all__ = ["GatewayReadings", "register_gateway_gauges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReadings:
    """Where the figures are read, at each scrape. Each is cheap and does not wait; None: there is no such part."""

    in_flight: Callable[[], int]
    journal_accepting: Callable[[], bool]
    journal_buffered_bytes: Callable[[], int]
    journal_backlog_bytes: Callable[[], int]
    snapshot_age_s: Callable[[], float | None]  # None: there is no snapshot yet
    snapshot_revision: Callable[[], int | None]
    queued: Callable[[], int] | None = None
    workers_up: Callable[[], Mapping[str, bool]] | None = None
    flag_evaluations: Callable[[], Values] | None = None  # by flag, variant and asker
    flag_requests: Callable[[], Values] | None = None  # by status
    rollouts_tripped: Callable[[], Values] | None = None  # by rollout and arm
    rollout_mirrors: Callable[[], Values] | None = None  # by outcome
    rollout_judgements: Callable[[], Values] | None = None  # by outcome
    feedback: Callable[[], Values] | None = None  # by outcome


def register_gateway_gauges(metrics: ProcessMetrics, read: GatewayReadings) -> None:
    """Expose them on the page of `metrics`."""
    metrics.gauge("podium_in_flight_exchanges", "Exchanges that run.", read.in_flight)
    metrics.gauge(
        "podium_journal_accepting",
        "1: finished exchanges can be recorded; 0: new ones are refused.",
        read.journal_accepting,
    )
    metrics.gauge(
        "podium_journal_buffered_bytes", "Records that wait in memory for the disk.", read.journal_buffered_bytes
    )
    metrics.gauge(
        "podium_journal_backlog_bytes", "Records on disk that the ledger does not have yet.", read.journal_backlog_bytes
    )
    metrics.gauge("podium_snapshot_age_seconds", "Since the snapshot in use was published.", read.snapshot_age_s)
    metrics.gauge("podium_snapshot_revision", "Revision of the snapshot in use.", read.snapshot_revision)
    if read.queued is not None:
        metrics.gauge("podium_queued_exchanges", "Exchanges that wait for their turn.", read.queued)
    if read.flag_evaluations is not None:
        metrics.labelled_counter(
            "podium_flag_evaluations_total",
            "Evaluations of flags; variant empty: an error.",
            ("flag", "variant", "asker"),
            read.flag_evaluations,
        )
    if read.flag_requests is not None:
        metrics.labelled_counter(
            "podium_flag_requests_total", "Answers to clients that ask for flags.", ("status",), read.flag_requests
        )
    if read.rollouts_tripped is not None:
        metrics.labelled_gauge(
            "podium_rollout_tripped",
            "1: this gateway took the arm out, because it failed again and again.",
            ("rollout", "arm"),
            read.rollouts_tripped,
        )
    if read.rollout_mirrors is not None:
        metrics.labelled_counter(
            "podium_rollout_mirrors_total",
            "Copies of exchanges for candidates that nobody sees: made, or dropped because too many ran.",
            ("outcome",),
            read.rollout_mirrors,
        )
    if read.rollout_judgements is not None:
        metrics.labelled_counter(
            "podium_rollout_judgements_total",
            "Exchanges that a judge was to be asked about, by what became of that.",
            ("outcome",),
            read.rollout_judgements,
        )
    if read.feedback is not None:
        metrics.labelled_counter(
            "podium_feedback_total", "Feedback of users, by how it was answered.", ("outcome",), read.feedback
        )
    if read.workers_up is not None:
        metrics.labelled_gauge(
            "podium_worker_up", "1: the worker on this machine is ready.", ("model",), _states(read.workers_up)
        )


def _states(read: Callable[[], Mapping[str, bool]]) -> Callable[[], Mapping[tuple[str, ...], float]]:
    return lambda: {(name,): float(up) for name, up in read().items()}
