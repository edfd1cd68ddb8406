from structlog.testing import capture_logs

from podium.economics.budgets.values import Crossing
from podium.telemetry.budget_alerts import BudgetAlerts
from podium.telemetry.process_metrics import ProcessMetrics


def test_a_soft_mark_is_logged_and_counted():
    alerts, metrics = BudgetAlerts(), ProcessMetrics()
    alerts.register(metrics)
    crossing = Crossing("all", "all|acme|m1", (("tenant", "acme"),), 0.8, 850, 1000, "tokens")
    with capture_logs() as logs:
        alerts((crossing, crossing))
    assert logs[0] | {"event": "budget_soft_mark_reached", "budget": "all", "subject": {"tenant": "acme"}} == logs[0]
    page = metrics.render().decode()
    assert "podium_budget_soft_marks_total 2" in page
    assert 'podium_budget_soft_mark_last_unix_seconds{budget="all",share="0.8"}' in page
