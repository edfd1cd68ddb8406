"""`history`, `undo` against the real admin application."""

import re


def test_history_lists_newest_first_with_author_and_changes(podium, house):
    house.apply("{kind: Tenant, name: bob}")
    lines = [line.split() for line in podium("history").out.splitlines() if line.strip()]
    assert lines[0] == ["revision", "when", "author", "message", "changes"]
    assert [line[0] for line in lines[2:]] == ["2", "1"]
    assert lines[2][-1] == "Tenant/bob"
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", " ".join(lines[2]))


def test_history_of_one_kind_or_resource(podium, house):
    house.apply("{kind: Tenant, name: bob}")
    house.apply("{kind: Price, name: p, spec: {model: m, input_usd_per_million: '1', output_usd_per_million: '2'}}")
    numbers = lambda *words: [one["number"] for one in podium("history", *words, "--json").json["revisions"]]  # noqa: E731
    assert numbers() == [3, 2, 1]
    assert numbers("tenant") == [2, 1]
    assert numbers("tenant", "bob") == [2]


def test_history_says_how_to_go_on(podium, house):
    for name in "abc":
        house.apply(f"{{kind: Tenant, name: {name}}}")
    assert podium("history", "--limit", "2").out.splitlines()[-1] == "Older ones: podium history --before 3"
    assert [one["number"] for one in podium("history", "--before", "3", "--json").json["revisions"]] == [2, 1]


def test_a_revision_of_many_changes_is_shortened_for_people_only(podium, house):
    house.apply("\n---\n".join(f"{{kind: Tenant, name: t{number}}}" for number in range(6)))
    assert "Tenant/t0, Tenant/t1, Tenant/t2, Tenant/t3 and 2 more" in podium("history").out
    assert len(podium("history", "--json").json["revisions"][0]["changes"]) == 6


def test_undo_takes_a_revision_back_as_a_new_one(podium, house):
    house.apply("{kind: Tenant, name: bob}")
    assert podium("undo", "2").out == "- Tenant/bob\nRevision 3 takes back revision 2.\n"
    assert podium("history", "--json").json["revisions"][0]["undoes"] == 2


def test_undo_without_a_number_takes_the_newest_back(podium, house):
    house.apply("{kind: Tenant, name: bob}")
    assert podium("undo").out == "- Tenant/bob\nRevision 3 takes back revision 2.\n"


def test_undo_of_what_was_changed_since_is_refused_with_the_reason(podium, house):
    house.apply("{kind: Tenant, name: bob}")
    house.apply("{kind: Tenant, name: bob, spec: {display_name: Bob}}")
    done = podium("undo", "2", code=1)
    assert done.err.startswith("podium: Tenant/bob: was changed after revision 2\nhint: ")


def test_undo_of_no_revision_is_one_sentence(podium, house):
    assert podium("undo", "99", code=1).err == "podium: there is no revision 99\n"
    assert podium("undo", "0", code=2).err.startswith("Usage: ")
