import asyncio

import pytest

from podium.identity.keys import parse_api_key
from podium.testing.events import make_event


def create(client, **more):
    return client.post("/admin/v1/keys", json={"tenant": "acme", "name": "app", **more})


def test_a_created_key_shows_its_clear_text_once(house, client):
    answer = create(client, models=["gpt-*"], endpoints=["embeddings"])
    assert answer.status_code == 201
    created = answer.json()
    assert parse_api_key(created["api_key"]).id == created["key"]["id"]
    assert (created["key"]["models"], created["key"]["endpoints"]) == (["gpt-*"], ["embeddings"])
    assert (created["key"]["created_by"], created["key"]["live"]) == (house.author, True)
    secret = parse_api_key(created["api_key"]).secret
    for path in ("/admin/v1/keys", f"/admin/v1/keys/{created['key']['id']}"):
        assert secret not in client.get(path).text
        assert "digest" not in client.get(path).text


def test_tier_and_tags_of_a_key_are_shown(client):
    made = create(client, tier="gold", tags={"team": "a"}).json()["key"]
    assert (made["tier"], made["tags"]) == ("gold", {"team": "a"})
    plain = create(client).json()["key"]
    assert (plain["tier"], plain["tags"]) == ("", {})


def test_a_key_is_labelled(client):
    key_id = create(client, tier="gold", tags={"team": "a"}).json()["key"]["id"]
    answer = client.post(f"/admin/v1/keys/{key_id}/label", json={"tier": "trial"})
    assert (answer.status_code, answer.json()["tier"], answer.json()["tags"]) == (200, "trial", {"team": "a"})
    for body, parameter in (({"tier": "very gold"}, "tier"), ({"tags": {"": "a"}}, "tags"), ({"name": "x"}, "")):
        answer = client.post(f"/admin/v1/keys/{key_id}/label", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"].get("parameter", "") == parameter


def test_a_created_admin_key_works(client):
    key = create(client, admin=True).json()["api_key"]
    assert client.get("/admin/v1/keys", headers={"authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"tenant": "nobody"}, "tenant"),
        ({"tenant": 5}, "tenant"),
        ({"name": ""}, "name"),
        ({"endpoints": ["chat"]}, "endpoints"),
        ({"models": []}, "models"),
        ({"models": [5]}, "models[0]"),
        ({"expires_unix_s": 1}, "expires_unix_s"),
        ({"tier": "very gold"}, "tier"),
        ({"tags": {"team": ""}}, "tags"),
        ({"tags": ["team"]}, "tags"),
        ({"colour": "red"}, ""),
    ],
)
def test_a_wrong_field_is_named(client, body, parameter):
    answer = create(client, **body)
    assert answer.status_code == 400
    assert answer.json()["error"].get("parameter", "") == parameter


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b"[" * 50_000, b"\xff", b'{"tenant": "a", "tenant": "a"}', b'"x"', b"NaN"]
)
def test_no_body_breaks_the_server(client, body):
    for path in ("/admin/v1/keys", f"/admin/v1/keys/{create(client).json()['key']['id']}/rotate"):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_a_form_is_refused(client):
    assert client.post("/admin/v1/keys", data={"tenant": "acme", "name": "x"}).status_code == 415


def test_keys_are_listed_by_tenant_and_life(house, client):
    key_id = create(client).json()["key"]["id"]
    client.post(f"/admin/v1/keys/{key_id}/revoke")
    everyone = [key["name"] for key in client.get("/admin/v1/keys").json()["keys"]]
    assert sorted(everyone) == ["alice", "app", "bob"]
    living = [key["name"] for key in client.get("/admin/v1/keys", params={"live": True}).json()["keys"]]
    assert sorted(living) == ["alice", "bob"]
    assert client.get("/admin/v1/keys", params={"tenant": "other"}).json() == {"keys": []}


def test_a_rotation_gives_a_second_secret_with_a_grace(house, client):
    created = create(client).json()
    rotated = client.post(f"/admin/v1/keys/{created['key']['id']}/rotate", json={"grace_s": 60}).json()
    assert rotated["key"]["id"] == created["key"]["id"]
    assert rotated["api_key"] != created["api_key"]
    ends = house.clock.unix_ns() / 1e9 + 60
    assert [secret["expires_unix_s"] for secret in rotated["key"]["secrets"]] == [pytest.approx(ends), None]
    again = client.post(f"/admin/v1/keys/{created['key']['id']}/rotate", json={})
    assert (again.status_code, again.json()["error"]["reason"]) == (409, "conflict")


def test_keys_that_do_not_exist_are_not_found(client):
    assert client.get("/admin/v1/keys/x").status_code == 404
    assert client.post("/admin/v1/keys/x/revoke").status_code == 404
    assert client.post("/admin/v1/keys/x/rotate", json={}).status_code == 404
    assert client.get("/admin/v1/keys/%00/usage").status_code == 404


def test_a_keys_usage_is_its_own(house, client):
    key_id = house.bob.record.entry.id
    events = (make_event(key_id=key_id, cost_nanousd=7), make_event(key_id="other", cost_nanousd=9))
    asyncio.run(house.ledger.load("a", 1, events))
    report = client.get(f"/admin/v1/keys/{key_id}/usage", params={"by": "model"}).json()
    assert report["total"]["cost_nanousd"] == 7
    assert report["rows"][0]["group"] == {"model": "small"}
