from litestar.testing import AsyncTestClient

from podium.control.plane import ControlPlane
from podium.core.event import AnswerFlag
from podium.testing.clock import TestClock
from podium.testing.events import make_event
from podium.testing.memory_store import (
    MemoryJournals,
    MemoryKeyStore,
    MemoryLeaderLease,
    MemoryLedger,
    MemoryPublisher,
    MemoryResourceStore,
)
from podium.web.admin.app import build_admin_app
from podium.web.admin.settings import AdminSettings
from podium.web.feedback.known import KNOWN_PATH

TOKEN = "t" * 64


def plane_of(ledger):
    return ControlPlane(
        resource_store=MemoryResourceStore(),
        key_store=MemoryKeyStore(),
        ledger=ledger,
        lease=MemoryLeaderLease(),
        journals=MemoryJournals(),
        publisher=MemoryPublisher(),
        pepper=bytes(32),
        clock=TestClock(),
    )


async def test_gateways_are_told_which_exchanges_a_tenant_has(monkeypatch):
    monkeypatch.setattr("podium.control.feedback._BETWEEN_S", 0.0)
    ledger = MemoryLedger()
    copied = make_event(request_id="q2", answer_flags=int(AnswerFlag.MIRRORED))
    await ledger.load("a/1", 1, (make_event(request_id="q1"), copied))
    app = build_admin_app(plane_of(ledger), AdminSettings(), gateways=TOKEN)
    async with AsyncTestClient(app) as http:

        async def ask(token=TOKEN, **asked):
            return await http.get(KNOWN_PATH, params=asked, headers={"authorization": f"Bearer {token}"})

        assert (await ask(tenant="acme", request_id="q1")).json() == {"known": True}
        for tenant, request_id in (("globex", "q1"), ("acme", "q2"), ("acme", "q3")):
            assert (await ask(tenant=tenant, request_id=request_id)).json() == {"known": False}
        assert (await ask(token="x", tenant="acme", request_id="q1")).status_code == 401
        assert (await ask(tenant="acme")).status_code == 400
        ledger.down = True
        assert (await ask(tenant="acme", request_id="q1")).status_code == 503


async def test_without_a_token_nobody_can_ask():
    app = build_admin_app(plane_of(MemoryLedger()), AdminSettings())
    async with AsyncTestClient(app) as http:
        asked = {"tenant": "acme", "request_id": "q"}
        for header in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
            assert (await http.get(KNOWN_PATH, params=asked, headers=header)).status_code == 404
