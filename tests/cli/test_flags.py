"""`flags` against the real admin application, with a scripted gateway."""

import time

import pytest

from podium.core.standings import FlagUse, Standings

FLAGS = """
kind: Flag
name: new-checkout
spec:
  type: boolean
  owner: shop team
  rules:
    - {name: staff, when: [{attribute: user, in: [ann]}, {attribute: age, at_least: 18}], variant: on}
    - {when: [{attribute: targetingKey, present: true}], split: {on: 0, off: 100}}
---
{kind: Flag, name: old-thing, spec: {type: number, variants: {off: 1.0, more: 2.5}, default: more}}
---
{kind: Flag, name: child, spec: {type: boolean, default: on, prerequisites: [{flag: new-checkout, variant: on}]}}
"""


class Gateways:
    def __init__(self):
        now = time.time()
        uses = (
            FlagUse(flag="new-checkout", variant="on", asker="ofrep", count=3, last_unix_s=now),
            FlagUse(flag="new-checkout", variant="", asker="ofrep", count=1, last_unix_s=now),
        )
        self.told = (
            Standings(place="g-1", flags=uses, flags_since_unix_s=now - 60),
            Standings(place="g-2", error="http://g-2 cannot be asked\x1b[2J"),
        )

    async def ask(self, query, presented):
        return self.told


@pytest.fixture
def flags(house):
    house.plane.flags._gateways = Gateways()
    house.apply(FLAGS)
    return house


def test_flags_are_listed_with_their_use(podium, flags):
    listed = podium("flags", "list")
    assert "new-checkout" in listed.out
    assert "more to everybody" in listed.out
    assert "shop team" in listed.out
    assert "Gateways that count: 1" in listed.out + listed.err
    assert "g-2 cannot be asked\\x1b" in listed.out + listed.err
    assert [one["name"] for one in podium("flags", "list", "--json").json["flags"]] == [
        "child", "new-checkout", "old-thing",
    ]  # fmt: skip


def test_one_flag_is_shown_as_it_is_declared_and_used(podium, flags):
    shown = podium("flags", "show", "new-checkout").out
    assert "attribute: age" in shown
    assert "Given since the gateways started: 1 errors, 3 on." in shown
    assert "Needed by: child." in shown
    assert "Stale: it gives everybody `more`." in podium("flags", "show", "old-thing").out
    assert podium("flags", "show", "new-checkout", "--json").json["given"] == {"on": 3, "": 1}
    assert "There is no flag `gone`" in podium("flags", "show", "gone", code=1).err


def test_a_flag_is_tried_with_a_context_of_json_or_text(podium, flags):
    tried = podium("flags", "evaluate", "new-checkout", "--context", "user=ann", "--context", "age=41").out
    assert tried == "true\non: TARGETING_MATCH by the rule 'staff'\n"
    assert podium("flags", "evaluate", "new-checkout", "--context", 'age="41"').out == "false\noff: DEFAULT\n"
    assert podium("flags", "evaluate", "new-checkout", "--context", "targetingKey=ann").out == "false\noff: SPLIT\n"
    assert "as new-checkout gives something else" in podium("flags", "evaluate", "child").out
    assert podium("flags", "evaluate", "old-thing", "--json").json["value"] == 2.5
    assert "not of the form" in podium("flags", "evaluate", "child", "--context", "x", code=1).err
    assert "no flag `gone`" in podium("flags", "evaluate", "gone", code=1).err


def test_a_flag_that_cannot_be_evaluated_fails(podium, flags):
    flags.apply("{kind: Flag, name: dealt, spec: {type: boolean, rules: [{split: {on: 50, off: 50}, by: device}]}}")

    assert "TARGETING_KEY_MISSING" in podium("flags", "evaluate", "dealt", code=1).err


def test_stale_flags_are_listed_with_why_and_may_fail_a_pipeline(podium, flags):
    listed = podium("flags", "stale")
    assert "old-thing" in listed.out
    assert "it gives everybody `more`" in listed.out
    assert "new-checkout" not in listed.out
    assert [one["name"] for one in podium("flags", "stale", "--json", "--fail", code=1).json["flags"]] == ["old-thing"]
    flags.apply(
        "{kind: Flag, name: old-thing, spec: {type: boolean, rules: [{when: [{attribute: a, in: [1]}], variant: on}]}}"
    )
    assert "No flag is stale." in podium("flags", "stale", "--fail").out
