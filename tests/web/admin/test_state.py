from litestar.testing import TestClient

from podium.web.admin.app import build_admin_app
from podium.web.admin.settings import AdminSettings


def test_health_readiness_and_metrics_need_no_key(stranger):
    assert stranger.get("/healthz").json() == {"status": "ok"}
    assert stranger.get("/readyz").json() == {"ready": True, "parts": {"database": "ok"}}
    metrics = stranger.get("/metrics")
    assert (metrics.text, metrics.headers["content-type"]) == (
        "podium_up 1\n",
        "text/plain; version=0.0.4; charset=utf-8",
    )


def test_without_a_page_there_are_no_metrics(house):
    with TestClient(build_admin_app(house.plane, AdminSettings())) as client:
        assert client.get("/metrics").status_code == 404


def test_readiness_says_what_is_missing(house, stranger):
    house.set_down(True)
    answer = stranger.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "parts": {"database": "the database cannot be reached"}}
    assert stranger.get("/healthz").status_code == 200


def test_the_status_tells_leader_snapshot_and_lag(client):
    status = client.get("/admin/v1/status").json()
    assert (status["holder"], status["leads"], status["database"], status["resource_revision"]) == (
        "control-1",
        False,
        "ok",
        1,
    )
    assert status["snapshot"] == client.get("/admin/v1/snapshot").json()
    assert status["loader"]["lag_bytes"] == 0


def test_the_plane_runs_as_long_as_the_application(house):
    app = build_admin_app(house.plane, AdminSettings(), lifespan=[lambda _: house.plane])
    with TestClient(app) as client:
        client.headers.update(house.headers)
        assert client.post("/admin/v1/apply", content="{kind: Tenant, name: b}").status_code == 200
    assert not house.plane.leader.leads
    assert house.plane.snapshots.status.revision > 0
