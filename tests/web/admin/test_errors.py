import pytest


def test_an_unknown_path_is_not_found_in_our_shape(client):
    for path in ("/", "/admin", "/admin/v1/nothing", "/admin/v2/keys", "/%00", "/admin/v1/revisions/x"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["reason"] == "route_not_found"


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/admin/v1/keys"), ("POST", "/healthz"), ("GET", "/admin/v1/apply")]
)
def test_an_unknown_method_is_told_with_those_that_are_known(client, method, path):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]


def test_a_bug_is_told_without_its_inside_and_without_the_callers_key(house, client, monkeypatch, capsys):
    async def broken():
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr(house.resource_store, "current", broken)
    answer = client.get("/admin/v1/resources")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (500, "internal_error")
    assert "secret inside" not in answer.text
    logged = capsys.readouterr().out
    assert "ZeroDivisionError: secret inside" in logged
    assert house.alice.text not in logged
