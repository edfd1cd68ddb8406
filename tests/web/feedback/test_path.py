import asyncio
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from podium.core.resources import Tenant
from podium.core.snapshot import KeyEntry, KeySecret
from podium.gateway.settings import GatewaySettings
from podium.identity.keys import ApiKey, digest_secret
from podium.testing.gateway import TEST_KEY, gateway_snapshot, running_gateway
from podium.testing.scripted_upstream import ScriptedUpstream

OTHERS = ApiKey("otherkey0000", "o" * 40)


class Control:
    """What a control process would know."""

    def __init__(self, answer=False):
        self.answer = answer
        self.asked = []

    async def known(self, tenant, request_id):
        self.asked.append((tenant, request_id))
        return self.answer


def entry(key, tenant, **more):
    return KeyEntry(
        id=key.id, tenant=tenant, name="x", secrets=(KeySecret(digest=digest_secret(bytes(32), key.secret)),), **more
    )


class Place:
    def __init__(self, gateway, http):
        self.gateway = gateway
        self.http = http

    async def chat(self, **headers):
        body = {"model": "test-model", "messages": [{"role": "user", "content": "hi"}]}
        answer = await self.http.post("/v1/chat/completions", json=body, headers=self.sent(TEST_KEY) | headers)
        assert answer.status_code == 200
        return answer.headers["x-request-id"]

    async def give(self, request_id, key=TEST_KEY, **said):
        return await self.http.post("/v1/feedback", json={"request_id": request_id, **said}, headers=self.sent(key))

    def sent(self, key):
        return {"authorization": f"Bearer {key.text}"}


@asynccontextmanager
async def place(asker=None, settings=None, **key):
    async with ScriptedUpstream() as upstream:
        snapshot = gateway_snapshot(upstream.url, key=entry(TEST_KEY, "test", **key) if key else None)
        snapshot = msgspec.structs.replace(
            snapshot,
            keys=(*snapshot.keys, entry(OTHERS, "other")),
            tenants={"test": Tenant(), "other": Tenant()},
        )
        async with (
            running_gateway(snapshot, asker=asker, settings=settings) as gateway,
            httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http,
        ):
            yield Place(gateway, http)


async def test_feedback_on_an_exchange_is_recorded_before_it_is_answered():
    async with place() as here:
        request_id = await here.chat()
        answer = await here.give(
            request_id, thumbs="down", score=0.25, task_done=False, comment="It was wrong.", user="alice"
        )
        assert answer.status_code == 200
        assert answer.json() == {"object": "feedback", "request_id": request_id, "known": True}
        (said,) = here.gateway.journal.opinions
        (event,) = here.gateway.journal.events
        assert said.exchange_id == event.id
        assert (said.tenant, said.key_id, said.user, said.request_id) == ("test", TEST_KEY.id, "alice", request_id)
        assert (said.thumbs, said.score, said.task_done, said.comment) == (0.0, 0.25, 0.0, "It was wrong.")
        assert here.gateway.desk.counts() == {("taken",): 1}


async def test_it_has_no_event_of_its_own():
    async with place() as here:
        await here.give(await here.chat(), thumbs="up")
        assert [event.endpoint for event in here.gateway.events] == ["chat.completions"]


async def test_unknown_and_foreign_exchanges_are_refused_with_the_same_words():
    control = Control()
    async with place(control) as here:
        request_id = await here.chat(**{"x-request-id": "mine"})
        unknown = await here.give("nobodys", thumbs="up", key=OTHERS)
        foreign = await here.give(request_id, thumbs="up", key=OTHERS)
        assert unknown.status_code == foreign.status_code == 404
        assert unknown.content == foreign.content
        assert unknown.json()["error"]["code"] == "exchange_not_found"
        assert control.asked == [("other", "nobodys"), ("other", "mine")]
        assert here.gateway.journal.opinions == []
        assert here.gateway.desk.counts() == {("not_found",): 2}


async def test_an_exchange_of_another_gateway_is_asked_for():
    async with place(Control(answer=True)) as here:
        answer = await here.give("elsewhere", thumbs="up")
        assert (answer.status_code, answer.json()["known"]) == (200, True)
        (said,) = here.gateway.journal.opinions
        assert (said.request_id, said.exchange_id) == ("elsewhere", b"")


@pytest.mark.parametrize("asker", [None, Control(answer=None)])
async def test_when_nobody_can_tell_it_is_taken(asker):
    async with place(asker) as here:
        answer = await here.give("elsewhere", thumbs="up")
        assert (answer.status_code, answer.json()["known"]) == (202, False)
        assert len(here.gateway.journal.opinions) == 1
        assert here.gateway.desk.counts() == {("unchecked",): 1}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"request_id": "\xff", "thumbs": "up"}', "invalid_json"),
        (b"[" * 100_000, "request_too_large"),
        (b"[" * 5000, "invalid_request"),
        (b"[]", "invalid_request"),
        (b'{"thumbs": "up"}', "invalid_request"),
        (b'{"request_id": "q"}', "invalid_request"),
        (b'{"request_id": "q", "thumbs": "UP"}', "invalid_request"),
        (b'{"request_id": "q", "score": 2}', "invalid_request"),
        (b'{"request_id": "a\\u0000b", "thumbs": "up"}', "invalid_request"),
        (b'{"request_id": "q", "comment": "%b"}' % (b"x" * 10_001), "invalid_request"),
        (b'{"request_id": "q", "stars": 5}', "invalid_request"),
    ],
)
async def test_what_is_no_feedback_is_refused(body, code):
    async with place() as here:
        headers = here.sent(TEST_KEY) | {"content-type": "application/json"}
        answer = await here.http.post("/v1/feedback", content=body, headers=headers)
        assert answer.json()["error"]["code"] == code
        assert answer.status_code in (400, 413)
        assert here.gateway.journal.opinions == []


async def test_the_words_of_a_comment_are_not_repeated_in_errors():
    async with place() as here:
        answer = await here.give("q", comment="secret words", score="secret words")
        assert answer.status_code == 400
        assert b"secret" not in answer.content


async def test_other_methods_and_types_are_refused():
    async with place() as here:
        got = await here.http.get("/v1/feedback", headers=here.sent(TEST_KEY))
        assert (got.status_code, got.headers["allow"]) == (405, "POST")
        headers = here.sent(TEST_KEY) | {"content-type": "text/plain"}
        assert (await here.http.post("/v1/feedback", content=b"{}", headers=headers)).status_code == 415


async def test_it_asks_for_a_key():
    async with place() as here:
        answer = await here.http.post("/v1/feedback", json={"request_id": "q", "thumbs": "up"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")
        sent = {"x-api-key": TEST_KEY.text}
        answer = await here.http.post("/v1/feedback", json={"request_id": "q", "thumbs": "up"}, headers=sent)
        assert answer.status_code == 202


@pytest.mark.parametrize(
    ("endpoints", "status"),
    [(("*",), 202), (("feedback",), 202), (("embeddings",), 202), (("models",), 403), (("flags", "versions"), 403)],
)
async def test_keys_that_may_call_models_may_give_feedback_and_keys_that_are_for_it(endpoints, status):
    async with place(endpoints=endpoints) as here:
        assert (await here.give("q", thumbs="up")).status_code == status


async def test_a_key_may_give_feedback_so_often():
    async with place(settings=GatewaySettings(feedback_requests_per_s=3)) as here:
        answers = await asyncio.gather(*(here.give("q", thumbs="up") for _ in range(12)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 6 <= len(refused) <= 9
        assert refused[0].headers["retry-after"] == "1"
        assert (await here.give("q", thumbs="up", key=OTHERS)).status_code == 202


async def test_without_room_on_the_disk_it_is_refused():
    async with place() as here:
        request_id = await here.chat()
        here.gateway.journal.failure = OSError("full")
        assert (await here.give(request_id, thumbs="up")).status_code == 503
        here.gateway.journal.accepting = False
        answer = await here.give(request_id, thumbs="up")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "journal_unavailable")
