"""`keys` against the real admin application."""

import time

import pytest

from podium.identity.keys import parse_api_key
from podium.testing.events import make_event


@pytest.fixture
def key(podium, house):
    """A key of the tenant acme, as `keys create --json` prints it."""
    return podium("keys", "create", "--tenant", "acme", "--name", "chatbot", "--json").json


def test_create_prints_the_key_alone_so_that_a_script_can_keep_it(podium, house):
    done = podium("keys", "create", "--tenant", "acme", "--name", "chatbot")
    key = parse_api_key(done.out.strip())
    assert key is not None
    assert done.err == "This is the only time that the key is shown. Keep it in a safe place.\n"
    assert key.id in podium("keys", "list").out
    assert key.secret not in podium("keys", "list", "--json").out


def test_create_hands_on_everything_that_was_chosen(podium, house):
    made = podium(
        *("keys", "create", "--tenant", "acme", "--name", "trial", "--admin", "--expires-in", "30d", "--json"),
        *("--model", "smol*", "--model", "m", "--endpoint", "chat.completions"),
        *("--tier", "gold", "--tag", "team=a", "--tag", "project=shop"),
    ).json["key"]
    assert made["models"] == ["smol*", "m"]
    assert made["endpoints"] == ["chat.completions"]
    assert made["admin"] is True
    assert (made["tier"], made["tags"]) == ("gold", {"project": "shop", "team": "a"})
    assert "gold   project=shop, team=a" in podium("keys", "list").out
    assert 29.9 < (made["expires_unix_s"] - time.time()) / 86_400 < 30.1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--tenant", "nobody"), 1, "podium: there is no Tenant `nobody`\nhint: declare the tenant"),
        (("--tenant", "acme", "--endpoint", "mail"), 1, "podium: there is no endpoint `mail`; there are"),
        (("--tenant", "acme", "--expires-in", "soon"), 1, "podium: --expires-in: 'soon' is not a duration.\nhint: "),
        (("--tenant", "acme", "--tag", "team"), 1, "podium: --tag: a tag has the form `name=value`\nhint: "),
        ((), 2, "Usage: "),
    ],
)
def test_create_refuses_what_is_wrong(podium, house, arguments, code, sentence):
    done = podium("keys", "create", "--name", "x", *arguments, code=code)
    assert done.err.startswith(sentence)
    assert done.out == ""


def test_list_shows_the_state_of_each_key(podium, house, key):
    podium("keys", "revoke", key["key"]["id"])
    rows = [line.split() for line in podium("keys", "list").out.splitlines() if "acme" in line]
    assert [(row[2], row[3]) for row in rows] == [("alice", "live"), ("chatbot", "revoked")]
    assert [one["name"] for one in podium("keys", "list", "--live", "--json").json["keys"]] == ["alice"]
    assert podium("keys", "list", "--tenant", "nobody").out == "There is no key.\n"


def test_label_changes_tier_and_tags_and_leaves_what_is_not_named(podium, house, key):
    key_id = key["key"]["id"]
    done = podium("keys", "label", key_id, "--tier", "gold", "--tag", "team=a", "--tag", "project=shop")
    assert done.out == f"Key {key_id} (chatbot): tier gold, tags project=shop, team=a.\n"
    made = podium("keys", "label", key["api_key"], "--tag", "team=b", "--json").json
    assert (made["tier"], made["tags"]) == ("gold", {"team": "b"})
    done = podium("keys", "label", key_id, "--tier", "", "--no-tags")
    assert done.out == f"Key {key_id} (chatbot): tier of its tenant, tags none.\n"


def test_rotate_gives_a_new_secret_and_says_how_long_the_old_one_works(podium, house, key):
    done = podium("keys", "rotate", key["key"]["id"], "--grace", "2h")
    fresh = parse_api_key(done.out.strip())
    assert fresh.id == key["key"]["id"]
    assert fresh.text != key["api_key"]
    assert done.err == "The old secret works for 2h more.\n"
    done = podium("keys", "rotate", key["key"]["id"], "--grace", "0")
    assert done.err == "The old secret does not work any more.\n"


def test_revoke_ends_a_key(podium, house, key):
    assert podium("keys", "revoke", key["key"]["id"]).out == f"Key {key['key']['id']} (chatbot) is revoked.\n"
    assert podium("keys", "rotate", key["key"]["id"], code=1).err.endswith("hint: create a new key instead\n")


def test_a_whole_key_stands_for_its_id_and_its_secret_is_not_sent(podium, house, key):
    podium("keys", "revoke", key["api_key"])
    secret = parse_api_key(key["api_key"]).secret
    assert all(secret not in path for _, path, _ in house.requests)


def test_usage_of_a_key_is_added_up_by_model(podium, house, key):
    key_id = key["key"]["id"]
    house.record(*(make_event(key_id=key_id, model=model) for model in ("a", "a", "b")), make_event(model="a"))
    rows = podium("keys", "usage", key_id, "--json").json["rows"]
    assert [(row["group"], row["exchanges"]) for row in rows] == [({"model": "a"}, 2), ({"model": "b"}, 1)]
    assert "total" in podium("keys", "usage", key_id).out


def test_an_unknown_key_is_one_sentence(podium, house):
    assert podium("keys", "revoke", "nothing", code=1).err == "podium: there is no key `nothing`\n"
