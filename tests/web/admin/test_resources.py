import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

HOUSE = """\
kind: Provider
name: openai/eu
spec: {protocol: openai, base_url: "https://api.example.com/v1"}
---
kind: Version
name: v1
spec: {backends: [{provider: openai/eu, model: gpt}]}
---
kind: Model
name: chat
spec: {version: v1, aliases: [default]}
"""


def apply(client, text=HOUSE, **params):
    return client.post("/admin/v1/apply", content=text, params=params, headers={"content-type": "application/yaml"})


def error(answer, status):
    assert answer.status_code == status
    return answer.json()["error"]


def test_documents_are_applied_and_read_back(client):
    answer = apply(client, message="a second provider").json()
    assert (answer["revision"], answer["base_revision"], answer["unchanged"], answer["dry_run"]) == (2, 1, 0, False)
    assert [(change["action"], change["name"]) for change in answer["changes"]] == [
        ("create", "chat"),
        ("create", "openai/eu"),
        ("create", "v1"),
    ]
    assert client.get("/admin/v1/resources/Model/chat").json() == {
        "kind": "Model",
        "name": "chat",
        "spec": {"version": "v1", "aliases": ["default"]},
    }
    listed = client.get("/admin/v1/resources").json()
    assert (listed["revision"], len(listed["resources"])) == (2, 4)
    assert [one["name"] for one in client.get("/admin/v1/resources/Version").json()["resources"]] == ["v1"]
    assert client.get("/admin/v1/revisions/2").json()["message"] == "a second provider"


@pytest.mark.parametrize("path", ["openai/eu", "openai%2Feu"])
def test_a_name_with_a_slash_is_found(client, path):
    apply(client)
    assert client.get(f"/admin/v1/resources/Provider/{path}").json()["name"] == "openai/eu"


def test_json_is_read_too(client):
    documents = list(yaml.safe_load_all(HOUSE))
    answer = client.post("/admin/v1/apply", json=documents)
    assert answer.json()["revision"] == 2


def test_an_apply_without_change_writes_nothing(client):
    apply(client)
    answer = apply(client).json()
    assert (answer["revision"], answer["unchanged"], answer["changes"]) == (None, 3, [])


def test_a_diff_and_a_dry_run_tell_the_same_and_write_nothing(client):
    diff = client.post("/admin/v1/diff", content=HOUSE).json()
    assert diff == apply(client, dry_run=True).json()
    assert (diff["dry_run"], diff["revision"], len(diff["changes"])) == (True, None, 3)
    assert client.get("/admin/v1/resources").json()["revision"] == 1


def test_a_change_is_told_by_field(client):
    apply(client)
    (change,) = apply(client, "{kind: Model, name: chat, spec: {version: v1}}").json()["changes"]
    assert change["action"] == "update"
    assert change["fields"] == [{"path": "spec.aliases", "before": ["default"], "after": None}]


def test_every_wrong_thing_is_told_with_line_and_path(client):
    detail = error(apply(client, HOUSE.replace("version: v1", "version: 1").replace("base_url", "url")), 400)
    assert [(one["line"], one["name"], one["path"]) for one in detail["problems"]] == [
        (3, "openai/eu", "spec.url"),
        (11, "chat", "spec.version"),
    ]


def test_a_missing_reference_is_told(client):
    detail = error(apply(client, "{kind: Model, name: m, spec: {version: nowhere}}"), 400)
    assert (detail["reason"], detail["parameter"]) == ("invalid_request", "spec.version")
    assert "no Version `nowhere`" in detail["message"]


def test_a_changed_version_is_a_conflict(client):
    apply(client)
    detail = error(apply(client, "{kind: Version, name: v1, spec: {backends: [{provider: openai/eu, model: b}]}}"), 409)
    assert (detail["reason"], detail["problems"][0]["path"]) == ("conflict", "spec")


def test_prune_deletes_the_rest(client):
    apply(client)
    answer = apply(client, "{kind: Tenant, name: acme}", prune=True).json()
    assert {change["action"] for change in answer["changes"]} == {"delete"}
    assert len(client.get("/admin/v1/resources").json()["resources"]) == 1


def test_an_expected_revision_that_is_old_is_a_conflict(client):
    apply(client)
    detail = error(apply(client, "{kind: Tenant, name: b}", expected_revision=1), 409)
    assert (detail["reason"], detail["parameter"]) == ("conflict", "expected_revision")
    assert apply(client, "{kind: Tenant, name: b}", expected_revision=2).status_code == 200


def test_of_two_operators_at_once_one_gets_a_conflict(client):
    texts = [f"{{kind: Tenant, name: acme, spec: {{display_name: '{n}'}}}}" for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda text: apply(client, text, expected_revision=1), texts))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_a_resource_is_deleted_unless_it_is_used(client):
    apply(client)
    assert "still used by Model/chat" in error(client.delete("/admin/v1/resources/Version/v1"), 409)["message"]
    assert client.delete("/admin/v1/resources/Model/chat").json()["changes"][0]["action"] == "delete"
    assert client.delete("/admin/v1/resources/Version/v1", params={"message": "old"}).json()["message"] == "old"
    assert error(client.get("/admin/v1/resources/Version/v1"), 404)["reason"] == "not_found"


def test_a_kind_that_does_not_exist_is_not_found(client):
    for path in ("/admin/v1/resources/Cat", "/admin/v1/resources/Cat/x"):
        assert "Tenant" in error(client.get(path), 404)["hint"]


def test_an_export_applies_again_in_both_formats(client):
    apply(client)
    as_yaml = client.get("/admin/v1/export")
    as_json = client.get("/admin/v1/export", params={"format": "json"})
    assert as_yaml.headers["content-type"].startswith("application/yaml")
    assert list(yaml.safe_load_all(as_yaml.text)) == as_json.json()
    for answer in (as_yaml, as_json):
        headers = {"content-type": answer.headers["content-type"]}
        applied = client.post("/admin/v1/apply", content=answer.content, params={"prune": True}, headers=headers)
        assert (applied.json()["revision"], applied.json()["unchanged"]) == (None, 4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 50_000,
        b"a: &a [*a]",
        b"\x00",
        b"{",
        b"5",
        b'{"kind": "Tenant", "kind": "Tenant", "name": "a"}',
        b'{"kind": "Tenant", "name": "a", "spec": {"models": [1e999]}}',
        b'{"kind": "Tenant", "name": "\\ud800"}',
        b'kind: Tenant\nname: a\nspec: {display_name: "\\0"}',
    ],
)
@pytest.mark.parametrize("media_type", ["application/yaml", "application/json; charset=utf-8"])
def test_no_body_breaks_the_server(client, body, media_type):
    answer = client.post("/admin/v1/apply", content=body, headers={"content-type": media_type})
    assert answer.status_code == (200 if body == b"" else 400)


def test_a_body_over_the_limit_is_refused(client):
    assert error(apply(client, "#" * (2 << 20) + "#"), 413)["reason"] == "request_too_large"

    def pieces():
        for _ in range(300):
            yield b"#" * 10_000

    assert error(client.post("/admin/v1/apply", content=pieces()), 413)["reason"] == "request_too_large"


def test_another_content_type_is_refused(client):
    answer = client.post("/admin/v1/apply", content=HOUSE, headers={"content-type": "application/xml"})
    assert error(answer, 415)["reason"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dry_run", "maybe"),
        ("prune", "2"),
        ("expected_revision", "-1"),
        ("expected_revision", "9" * 40),
        ("expected_revision", "x"),
        ("message", "x" * 2001),
        ("message", "\0"),
    ],
)
def test_a_wrong_parameter_is_named(client, name, value):
    assert error(apply(client, **{name: value}), 400)["parameter"] == name


def test_the_answer_is_never_cached(client):
    for answer in (client.get("/admin/v1/export"), client.get("/nowhere"), client.get("/admin/v1/resources/Cat")):
        assert answer.headers["cache-control"] == "no-store"


def test_json_numbers_keep_their_kind(client):
    parameters = {"a": 1, "b": 1.0, "c": True, "d": 1e30, "e": None}
    spec = {"backends": [{"provider": "p", "model": "m"}], "parameters": parameters}
    documents = [
        {"kind": "Provider", "name": "p", "spec": {"protocol": "local"}},
        {"kind": "Version", "name": "v", "spec": spec},
    ]
    client.post("/admin/v1/apply", content=json.dumps(documents))
    read = client.get("/admin/v1/resources/Version/v").json()["spec"]["parameters"]
    assert repr(read) == repr(parameters)
