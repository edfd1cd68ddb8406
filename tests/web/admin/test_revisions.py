import pytest


@pytest.fixture
def changed(client):
    for text in (
        "{kind: Tenant, name: b}",
        "{kind: Tenant, name: b, spec: {display_name: B}}",
        "{kind: Tenant, name: c}",
    ):
        assert client.post("/admin/v1/apply", content=text).status_code == 200
    return client


def numbers(answer):
    return [revision["number"] for revision in answer.json()["revisions"]]


def test_revisions_are_listed_newest_first_and_paged(changed):
    assert numbers(changed.get("/admin/v1/revisions")) == [4, 3, 2, 1]
    page = changed.get("/admin/v1/revisions", params={"kind": "Tenant", "name": "b", "limit": 1})
    assert (numbers(page), page.json()["next_before"]) == ([3], 3)
    assert numbers(changed.get("/admin/v1/revisions", params={"name": "b", "before": 3})) == [2]


@pytest.mark.parametrize("params", [{"kind": "Cat"}, {"limit": 0}, {"limit": 501}, {"before": 0}, {"before": "x"}])
def test_wrong_questions_are_refused(changed, params):
    assert changed.get("/admin/v1/revisions", params=params).status_code == 400


def test_an_undo_is_a_revision_that_says_what_it_undoes(house, changed):
    answer = changed.post("/admin/v1/revisions/3/undo", params={"message": "wrong name"})
    assert answer.status_code == 201
    undone = answer.json()
    assert (undone["number"], undone["undoes"], undone["message"]) == (5, 3, "wrong name")
    assert undone["author"] == house.author
    assert changed.get("/admin/v1/resources/Tenant/b").json()["spec"] == {}


def test_an_undo_of_what_was_changed_since_is_a_conflict(changed):
    answer = changed.post("/admin/v1/revisions/2/undo")
    assert answer.status_code == 409
    assert "Tenant/b: was changed after revision 2" in answer.json()["error"]["message"]


@pytest.mark.parametrize("number", ["0", "99", "-1", "9" * 30])
def test_a_revision_that_never_was_is_not_found(changed, number):
    assert changed.get(f"/admin/v1/revisions/{number}").status_code == 404
    assert changed.post(f"/admin/v1/revisions/{number}/undo").status_code == 404
