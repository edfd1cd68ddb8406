import pytest

from podium.web.admin.openapi import describe


def guarded(app):
    for path, item in describe(app)["paths"].items():
        if path.startswith("/admin/v1/"):
            for method in item:
                yield method, path.replace("{number}", "1").replace("{kind}", "Tenant")


def reason(answer):
    return answer.json()["error"]["reason"]


def test_no_operation_answers_a_stranger(house, stranger):
    for method, path in guarded(house.app):
        answer = stranger.request(method, path)
        assert (answer.status_code, reason(answer)) == (401, "missing_api_key"), path
        assert answer.headers["www-authenticate"] == "Bearer"


def test_no_operation_answers_a_key_without_admin(house, stranger):
    for method, path in guarded(house.app):
        answer = stranger.request(method, path, headers={"authorization": f"Bearer {house.bob.text}"})
        assert (answer.status_code, reason(answer)) == (403, "endpoint_not_allowed"), path


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YWxpY2U6", "pk_x", "Bearer pk_000000000000_" + "0" * 40, "Bearer \xff"]
)
def test_what_is_no_key_is_refused(stranger, header):
    answer = stranger.get("/admin/v1/keys", headers={"authorization": header.encode("latin-1")})
    assert (answer.status_code, reason(answer)) == (401, "invalid_api_key")


def test_the_scheme_is_read_in_any_case(house, stranger):
    assert stranger.get("/admin/v1/keys", headers={"authorization": f"bearer {house.alice.text}"}).status_code == 200


def test_a_revoked_key_is_refused_at_the_next_call(house, client):
    assert client.get("/admin/v1/keys").status_code == 200
    assert client.post(f"/admin/v1/keys/{house.alice.record.entry.id}/revoke").status_code == 200
    answer = client.get("/admin/v1/keys")
    assert (answer.status_code, reason(answer)) == (401, "revoked_api_key")


def test_while_the_database_is_down_every_operation_says_503(house, client):
    house.set_down(True)
    for method, path in guarded(house.app):
        answer = client.request(method, path)
        assert answer.status_code == 503, path
        assert answer.headers["retry-after"] == "1"
    house.set_down(False)
    assert client.get("/admin/v1/keys").status_code == 200


def test_a_change_bears_its_author(house, client):
    first = client.post("/admin/v1/apply", content="{kind: Tenant, name: a}")
    second = client.post("/admin/v1/apply", content="{kind: Tenant, name: b}", headers={"x-podium-author": "carol"})
    authors = [
        client.get(f"/admin/v1/revisions/{answer.json()['revision']}").json()["author"] for answer in (first, second)
    ]
    assert authors == [house.author, f"{house.author} (carol)"]


@pytest.mark.parametrize("author", [b"\x07", b"x" * 201, b"a\tb"])
def test_an_author_that_cannot_be_recorded_is_refused(client, author):
    answer = client.post("/admin/v1/apply", content="{kind: Tenant, name: a}", headers={b"x-podium-author": author})
    assert (answer.status_code, answer.json()["error"]["parameter"]) == (400, "author")
