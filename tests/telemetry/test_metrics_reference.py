"""docs/reference/metrics.md names every metric, with its type, and none that does not exist."""

import ast
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from podium.core.clock import SystemClock
from podium.telemetry.budget_alerts import BudgetAlerts
from podium.telemetry.fleet_gauges import FleetGauges
from podium.telemetry.gateway_gauges import GatewayReadings, register_gateway_gauges
from podium.telemetry.settings import TelemetrySettings
from podium.telemetry.sinks import Sinks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/metrics.md").read_text()
ROW = re.compile(r"^\| `(podium_\w+)` \| (\w+) \|", re.MULTILINE)
DOCUMENTED = dict(ROW.findall(PAGE))
OF_CONTROL = dict(ROW.findall(PAGE.partition("## State of the control plane")[2]))


async def test_all_metrics_of_a_gateway_are_documented_with_their_types(make_event):
    sinks = Sinks(TelemetrySettings(exchange_log=True), gateway="gateway-1", descriptor=2)
    register_gateway_gauges(
        sinks.metrics,
        GatewayReadings(
            in_flight=lambda: 1,
            journal_accepting=lambda: True,
            journal_buffered_bytes=lambda: 1,
            journal_backlog_bytes=lambda: 1,
            snapshot_age_s=lambda: 1.0,
            snapshot_revision=lambda: 1,
            queued=lambda: 1,
            workers_up=lambda: {"smollm2": False},
            flag_evaluations=lambda: {("beta", "on", "gateway"): 1.0},
            flag_requests=lambda: {("200",): 1.0},
            rollouts_tripped=lambda: {("r", "candidate"): 1.0},
            rollout_mirrors=lambda: {("made",): 1.0},
            rollout_judgements=lambda: {("agreed",): 1.0},
            feedback=lambda: {("taken",): 1.0},
        ),
    )
    FleetGauges(dict, SystemClock()).register(sinks.metrics)
    BudgetAlerts().register(sinks.metrics)
    sinks.metrics.observe(make_event(status=502, reason="upstream_broken", fault="upstream", stream=True))
    await sinks.close()

    families = text_string_to_metric_families(sinks.metrics.render().decode())
    exposed = {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}

    found = {name: kind for name, kind in exposed.items() if name.startswith("podium_")}
    alone = {name: kind for name, kind in DOCUMENTED.items() if not name.startswith("podium_shared_store_")}
    assert found.items() | OF_CONTROL.items() == alone.items()
    assert {name for name in exposed if name.startswith("process_")} == set(re.findall(r"`(process_\w+)`", PAGE))


def test_metrics_that_are_registered_anywhere_are_documented():
    found = {name for path in (ROOT / "src").rglob("*.py") for name in registered_in(path)}

    assert "podium_in_flight_exchanges" in found
    assert set(OF_CONTROL) <= found
    assert found <= set(DOCUMENTED), f"add to docs/reference/metrics.md: {sorted(found - set(DOCUMENTED))}"


def registered_in(path):
    """First arguments of calls of `gauge`, `counter` and their labelled sorts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        first = node.args[0]
        if node.func.attr in {"gauge", "labelled_gauge", "counter", "labelled_counter"} and isinstance(
            first, ast.Constant
        ):
            yield first.value


def test_the_labels_of_the_page_are_described():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (?!counter|gauge|histogram)", PAGE, re.MULTILINE)
    described = {label for row in rows for label in re.findall(r"\w+", row)}
    rows = re.findall(r"^\| `podium_\w+` \| \w+ \| ([^|]*) \|", PAGE, re.MULTILINE)
    used = {label for row in rows for label in re.findall(r"\w+", row)}

    assert used == described
