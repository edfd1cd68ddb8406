"""`feedback` against the real admin application."""

import pytest

from podium.control.feedback import FeedbackList, FeedbackView


class Shelf:
    """Keeps what it was asked; has two pages."""

    def __init__(self):
        self.asked = []

    async def feedback(self, query):
        self.asked.append(query)
        return tuple(view(number) for number in range(min(3, query.limit)))

    async def forget(self, whose, *, limit):
        self.asked.append(whose)
        return 2 if len(self.asked) == 1 else 0


def view(number):
    kind, value, comment = (("thumbs", 0.0, ""), ("score", 0.25, ""), ("comment", None, "long\n" * 30))[number]
    return FeedbackView(
        id=f"1760000000.5-{number:032x}-{kind}",
        given_unix_s=1_760_000_000.5,
        kind=kind,
        value=value,
        comment=comment,
        user="ann",
        tenant="acme",
        key_id="k",
        request_id=f"req-{number}",
        model="small",
        version="small-2@abc",
        rollout="r",
        arm="candidate",
    )


@pytest.fixture
def shelf(house):
    shelf = Shelf()
    house.plane.feedback = FeedbackList(shelf)
    return shelf


def test_list_tells_what_was_said(podium, shelf):
    lines = podium("feedback", "list", "--rollout", "r").out.splitlines()
    rows = [line.split() for line in lines if "req-" in line]
    assert [row[-2:] for row in rows[:2]] == [["thumbs", "down"], ["score", "0.25"]]
    assert rows[2][-1].endswith("…")
    assert shelf.asked[0].rollout == "r"


def test_older_ones_are_told_how_to_get(podium, shelf):
    out = podium("feedback", "list", "--limit", "2").out
    last = f"1760000000.5-{1:032x}-score"
    assert f"--before {last}" in out
    podium("feedback", "list", "--before", last)
    assert shelf.asked[-1].before == (1760000000.5, (1).to_bytes(16, "big"), "score")


def test_as_json_it_is_whole(podium, shelf):
    told = podium("feedback", "list", "--kind", "comment", "--json").json
    assert told["feedback"][2]["comment"] == "long\n" * 30


def test_what_was_said_in_words_is_erased_on_demand(podium, shelf):
    out = podium("feedback", "erase", "--tenant", "acme", "--user", "ann").out
    assert out.strip() == "2 comments and names were erased."
    assert (shelf.asked[0].tenant, shelf.asked[0].user, shelf.asked[0].request_id) == ("acme", "ann", None)
    told = podium("feedback", "erase", "--tenant", "acme", "--request-id", "req-1", "--json").json
    assert told == {"erased": 0}
    assert "either" in podium("feedback", "erase", "--tenant", "acme", code=1).err


def test_nothing_and_nonsense_are_one_sentence(podium, house):
    assert podium("feedback", "list").out.strip() == "Nobody said anything."
    assert podium("feedback", "list", "--before", "x", code=1).err.startswith("podium: `before` is the id of a")
