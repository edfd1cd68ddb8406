import msgspec
import pytest

from podium.core.flags import Flag
from podium.core.resources import Tenant
from podium.core.snapshot import KeyEntry, KeySecret
from podium.gateway.settings import GatewaySettings
from podium.identity.keys import digest_secret
from podium.testing.gateway import TEST_KEY

BETA = {"type": "boolean", "rules": [{"name": "ann", "when": [{"attribute": "user", "in": ["ann"]}], "variant": "on"}]}
SPLIT = {"type": "boolean", "rules": [{"split": {"on": 50, "off": 50}}]}


def key(**more):
    secret = KeySecret(digest=digest_secret(bytes(32), TEST_KEY.secret))
    return KeyEntry(id=TEST_KEY.id, tenant="test", name="app", secrets=(secret,), **more)


async def test_one_flag_is_answered_as_the_protocol_says(asking):
    async with asking(beta=BETA, size={"type": "number", "variants": {"off": 1.0, "x": 2}, "default": "x"}) as ask:
        answer = await ask.one("beta", {"user": "ann"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {
            "key": "beta",
            "value": True,
            "variant": "on",
            "reason": "TARGETING_MATCH",
            "metadata": {"rule": "ann"},
        }
        assert (await ask.one("size")).json() == {"key": "size", "value": 2, "variant": "x", "reason": "STATIC"}
        assert (await ask.post("/beta", content=b"")).json()["reason"] == "DEFAULT"


async def test_failures_have_the_protocols_words(asking):
    async with asking(beta=SPLIT) as ask:
        missing = await ask.one("gone")
        assert (missing.status_code, missing.json()["errorCode"]) == (404, "FLAG_NOT_FOUND")
        assert missing.json()["key"] == "gone"
        unsplit = await ask.one("beta", {})
        assert (unsplit.status_code, unsplit.json()["errorCode"]) == (400, "TARGETING_KEY_MISSING")
        for body, code in [
            (b"{", "PARSE_ERROR"),
            (b"\xff", "PARSE_ERROR"),
            (b'{"context": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "PARSE_ERROR"),
            (b"[]", "INVALID_CONTEXT"),
            (b'{"context": []}', "INVALID_CONTEXT"),
            (msgspec.json.encode({"context": dict.fromkeys(map(str, range(101)), 1)}), "INVALID_CONTEXT"),
            (msgspec.json.encode({"context": {"a": "x" * 1025}}), "INVALID_CONTEXT"),
            (msgspec.json.encode({"context": {"x" * 1025: "a"}}), "INVALID_CONTEXT"),
            (msgspec.json.encode({"context": {"a": ["x"] * 101}}), "INVALID_CONTEXT"),
        ]:
            refused = await ask.post("/beta", content=body)
            assert (refused.status_code, refused.json()["errorCode"]) == (400, code), body[:40]
            assert refused.json()["errorDetails"]
            assert refused.json()["key"] == "beta"
            assert "key" not in (await ask.post("", content=body)).json()


async def test_attributes_that_no_flag_can_use_do_no_harm(asking):
    async with asking(beta=BETA) as ask:
        odd = {"nested": {"a": 1}, "nothing": None, "lists": [[1]], "user": ["bob", "ann"]}

        assert (await ask.one("beta", odd)).json()["value"] is True


async def test_a_key_is_needed_that_may_read_flags(asking):
    async with asking(beta=BETA, key=key(endpoints=("chat.completions",))) as ask:
        refused = await ask.one("beta")
        assert (refused.status_code, list(refused.json())) == (403, ["errorDetails"])
        nobody = await ask.one("beta", headers={"authorization": ""})
        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
        assert (await ask.one("beta", headers={"authorization": "Bearer pk_wrong"})).status_code == 401
        assert (await ask.all()).status_code == 403
    async with asking(beta=BETA, key=key(endpoints=("flags",))) as ask:
        assert (await ask.one("beta")).status_code == 200
        other = await ask.one("beta", headers={"authorization": "", "x-api-key": ask.gateway.api_key})
        assert other.status_code == 200
        chat = await ask.http.post(
            "/v1/chat/completions", json={}, headers={"authorization": f"Bearer {ask.gateway.api_key}"}
        )
        assert chat.status_code == 403
    async with asking(beta=BETA, tenants={"test": Tenant(suspended=True)}) as ask:
        assert (await ask.one("beta")).status_code == 403


def told(attribute, *values):
    return {"type": "boolean", "rules": [{"when": [{"attribute": attribute, "in": list(values)}], "variant": "on"}]}


async def test_what_the_key_says_cannot_be_said_otherwise(asking):
    flags = {
        "tenant": told("tenant", "acme"),
        "whose": told("key", "admin"),
        "tier": told("tier", "gold"),
        "tag": told("tag:team", "ops"),
        "true-tenant": told("tenant", "test"),
        "true-tag": told("tag:team", "web"),
        "no-tier": {"type": "boolean", "rules": [{"when": [{"attribute": "tier", "present": False}], "variant": "on"}]},
    }
    forged = {"tenant": "acme", "key": "admin", "tier": "gold", "tag:team": "ops", "tag:other": "ops"}
    async with asking(key=key(tags="team=web"), **flags) as ask:
        values = {one["key"]: one["value"] for one in (await ask.all(forged)).json()["flags"]}
        alone = {name: (await ask.one(name, forged)).json()["value"] for name in values}

    assert values == alone == {
        "tenant": False, "whose": False, "tier": False, "tag": False, "true-tenant": True, "true-tag": True,
        "no-tier": True,
    }  # fmt: skip


async def test_all_flags_come_at_once_and_again_only_when_something_has_changed(asking):
    async with asking(beta=BETA, split=SPLIT, secret={"type": "boolean", "readers": []}) as ask:
        first = await ask.all({"targetingKey": "ann", "user": "ann"})
        etag = first.headers["etag"]
        assert [one["key"] for one in first.json()["flags"]] == ["beta", "split"]
        assert first.json()["flags"][0]["value"] is True

        same = await ask.all({"user": "ann", "targetingKey": "ann"}, **{"if-none-match": f'"x", W/{etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        assert "content-length" not in same.headers
        other = await ask.all({"targetingKey": "bob", "user": "ann"}, **{"if-none-match": etag})
        assert other.status_code == 200

        world = ask.gateway.follower.current
        ask.gateway.follower.install(msgspec.structs.replace(world.snapshot, revision=2))
        assert (await ask.all({"targetingKey": "ann", "user": "ann"}, **{"if-none-match": etag})).status_code == 304
        flags = world.snapshot.flags | {"beta": msgspec.convert(BETA | {"enabled": False}, Flag)}
        ask.gateway.follower.install(msgspec.structs.replace(world.snapshot, revision=3, flags=flags))
        changed = await ask.all({"targetingKey": "ann", "user": "ann"}, **{"if-none-match": etag})
        assert (changed.status_code, changed.json()["flags"][0]["reason"]) == (200, "DISABLED")
        failed = (await ask.all()).json()["flags"][1]
        assert (failed["key"], failed["errorCode"]) == ("split", "TARGETING_KEY_MISSING")


async def test_a_flag_that_a_tenant_may_not_read_is_not_there(asking):
    flags = {
        "theirs": {"type": "boolean", "readers": ["acme"]},
        "ours": {"type": "boolean", "readers": ["te*"], "prerequisites": [{"flag": "theirs", "variant": "off"}]},
        "nobodys": {"type": "boolean", "readers": []},
    }
    async with asking(**flags) as ask:
        assert [(await ask.one(name)).status_code for name in flags] == [404, 200, 404]
        assert [one["key"] for one in (await ask.all()).json()["flags"]] == ["ours"]


async def test_who_asks_too_often_is_told_when_to_come_again(asking):
    async with asking(beta=BETA, settings=GatewaySettings(flag_requests_per_s=3)) as ask:
        answers = [await ask.one("beta") for _ in range(30)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert list(refused[0].json()) == ["errorDetails"]
    assert answers[0].status_code == 200


async def test_reading_all_of_many_flags_weighs_more_than_reading_one(asking):
    many = {f"f{number}": {"type": "boolean"} for number in range(500)}
    async with asking(settings=GatewaySettings(flag_requests_per_s=22), **many) as ask:
        assert [(await ask.all()).status_code for _ in range(3)] == [200, 200, 429]


async def test_reading_flags_is_not_recorded_and_goes_on_while_nothing_can_be(asking):
    async with asking(beta=BETA) as ask:
        ask.gateway.journal.accepting = False
        assert (await ask.one("beta")).status_code == 200
        assert (await ask.all()).status_code == 200
        assert ask.gateway.events == []


async def test_evaluations_are_counted_by_flag_variant_and_who_asks(asking):
    async with asking(beta=BETA, split=SPLIT) as ask:
        await ask.one("beta", {"user": "ann"})
        await ask.one("beta")
        await ask.one("split")
        for name in ("gone", "other"):
            await ask.one(name)
        etag = (await ask.all()).headers["etag"]
        counts = ask.gateway.flight.flag_counts
        assert counts.totals() == {
            ("beta", "on", "ofrep"): 1,
            ("beta", "off", "ofrep"): 1,
            ("split", "", "ofrep"): 1,
            ("beta", "off", "ofrep_all"): 1,
            ("split", "", "ofrep_all"): 1,
        }
        before = {(one.flag, one.asker): one.last_unix_s for one in counts.uses()}
        assert (await ask.all(**{"if-none-match": etag})).status_code == 304
        assert counts.requests() == {("200",): 3, ("400",): 1, ("404",): 2, ("304",): 1}
        after = {(one.flag, one.asker): one.last_unix_s for one in counts.uses()}
    assert after["beta", "ofrep_all"] > before["beta", "ofrep_all"]
    assert after["beta", "ofrep"] == before["beta", "ofrep"]


async def test_the_configuration_tells_who_serves(asking):
    async with asking() as ask:
        sent = {"authorization": f"Bearer {ask.gateway.api_key}"}
        told = (await ask.http.get("/ofrep/v1/configuration", headers=sent)).json()
        assert told["name"] == "podium"
        assert (await ask.http.get("/ofrep/v1/configuration")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ofrep/v1/evaluate/flags", 405),
        ("GET", "/ofrep/v1/evaluate/flags/beta", 405),
        ("POST", "/ofrep/v1/configuration", 405),
        ("POST", "/ofrep/v2/evaluate/flags", 404),
        ("GET", "/ofrep/", 404),
    ],
)
async def test_other_paths_and_methods_are_refused_in_the_protocols_shape(asking, method, path, status):
    async with asking(beta=BETA) as ask:
        answer = await ask.http.request(method, path, json={})

    assert (answer.status_code, list(answer.json())) == (status, ["errorDetails"])


async def test_names_with_signs_are_found_however_they_are_written(asking):
    async with asking() as ask:
        world = ask.gateway.follower.current
        flags = {"team/new:ui@2": msgspec.convert({"type": "boolean"}, Flag)}
        ask.gateway.follower.install(msgspec.structs.replace(world.snapshot, revision=2, flags=flags))
        for path in ("team/new:ui@2", "team%2Fnew%3Aui%402", "team/new:ui@2/"):
            assert (await ask.one(path)).json()["key"] == "team/new:ui@2"
        assert (await ask.one("x" * 5000)).status_code == 404
        assert (await ask.one("%ff%00")).status_code == 404
