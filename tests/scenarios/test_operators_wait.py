"""PostgreSQL stalls, and all settings are as they come: an operator is told so before patience ends."""

import time
from contextlib import ExitStack

import pytest

from podium.testing.postgres_server import PostgresServer
from podium.testing.site import Site

pytestmark = pytest.mark.scenario

TOLD_WITHIN_S = 10.0


@pytest.fixture
def stalled(tmp_path):
    """A control process whose database has stopped to answer."""
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer())
        site = Site(tmp_path, database_url=server.url)
        stack.enter_context(site.running_control())
        site.declare({"kind": "Tenant", "name": "acme", "spec": {}})
        server.stall()
        stack.callback(server.resume)
        yield site


def test_an_operator_hears_soon_that_the_database_does_not_answer(stalled):
    started_s = time.monotonic()
    done = stalled.control.run("keys", "create", "--tenant", "acme", "--name", "x", check=False)
    took_s = time.monotonic() - started_s
    assert done.code != 0
    assert done.err.startswith("podium: The database cannot be reached.\n"), done.err
    assert "no connection that answers within 5 s" in done.err
    assert took_s < TOLD_WITHIN_S
