"""Exchanges of a model that a rollout moves: who gets which version, what is told of it, and what takes an arm out."""

from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from podium.core.event import AnswerFlag
from podium.core.flags import Condition, Flag, Rule
from podium.core.resources import BackendSpec, Version
from podium.core.rollouts import Analysis, Arm, Metric, Progress, Rollout, Segment, Step
from podium.delivery.buckets import arms_at, handed_over
from podium.delivery.digest import version_name
from podium.gateway.mirror import MOST_COPIES
from podium.testing.upstream import Behaviour, Mode
from podium.testing.waiting import eventually

NEW = Version(backends=(BackendSpec(provider="b", model="b-model"),))
CANARY = Rollout(model="m", candidate="new", steps=(Step(percent=30), Step(percent=100)))
USERS = 60


class Moved:
    """A model `m`, served by provider `a`, and a rollout that brings the version `new`, served by `b`."""

    def __init__(self, stage):
        self.stage = stage
        self.changes = 0

    async def serve(
        self, rollout=CANARY, *, new=NEW, key=None, model=None, phase="running", step=0, salt="s", arms=None, more=None
    ):
        self.changes += 1
        stage = self.stage
        if stage.gateway is None:
            await stage.serve(m=model or stage.model("a"), other="b")
            self.declared = stage.gateway.follower.current.snapshot
        snapshot = self.declared
        if arms is None:
            arms = arms_at(rollout, step, "m-1") if phase in ("running", "paused") else ()
        progress = Progress(
            phase=phase,
            before="m-1",
            salt=salt,
            step=step,
            arms=arms,
            mirrored=rollout.strategy == "shadow",
            changed_unix_s=float(self.changes),
        )
        keys = snapshot.keys if key is None else (replace(next(iter(snapshot.keys)), **key),)
        snapshot = replace(
            snapshot,
            revision=100 + self.changes,
            versions=snapshot.versions | {"new": new} | (more or {}),
            rollouts={"r": rollout},
            progress={"r": progress},
            keys=keys,
        )
        stage.gateway.follower.install(snapshot)

    async def ask(self, user="ann", **more):
        """An answer, and the event of the exchange."""
        before = len(self.stage.gateway.events)
        answer = await self.stage.ask("m", user=user, **more)
        return answer, await self.stage.event(before)

    async def user_of(self, arm):
        """A user who gets this arm, found without asking."""
        chooser = self.stage.gateway.follower.current.rollouts["m"].chooser
        names = (f"user-{n}" for n in range(10_000))
        return next(name for name in names if chooser.choose("test", "testkey00000", name, "", "", "")[0].arm == arm)


@pytest.fixture
def moved(stage):
    return Moved(stage)


async def test_users_keep_their_version_and_events_and_answers_tell_it(moved):
    await moved.serve()
    seen = {}
    for n in range(USERS):
        answer, event = await moved.ask(f"user-{n}")
        label = answer.header("x-podium-version")
        assert event.version == label
        assert label.startswith("new@") == (event.arm == "candidate") == (event.provider == "b")
        assert (event.rollout == "r") == bool(event.arm) == bool(event.subject)
        seen[f"user-{n}"] = event
    assert {event.arm for event in seen.values()} == {"candidate", "baseline", ""}
    await moved.serve(step=1)
    for user, before in seen.items():
        _, event = await moved.ask(user)
        assert event.arm == "candidate"
        assert event.subject == before.subject or not before.subject


async def test_who_names_no_user_is_known_by_the_session_and_else_by_the_key(moved):
    await moved.serve()
    user = await moved.user_of("candidate")
    _, by_key = await moved.ask(None)
    _, by_session = await moved.ask(None, headers={"x-podium-session": user})
    _, again = await moved.ask(None, headers={"x-podium-session": user})
    _, by_user = await moved.ask(user, headers={"x-podium-session": "another"})
    assert by_session.version == again.version
    assert by_session.subject == again.subject
    assert by_user.arm == "candidate"
    assert by_key.version == (await moved.ask(None))[1].version


@pytest.mark.parametrize("phase", ["pending", "promoted", "returned", "aborted", "failed"])
async def test_before_and_after_a_rollout_the_models_own_version_serves(moved, phase):
    await moved.serve(phase=phase)
    for n in range(10):
        answer, event = await moved.ask(f"user-{n}", headers={"x-podium-version": "new"})
        assert event.version.startswith("m-1@")
        assert (answer.status, event.rollout, event.arm, event.subject) == (200, "", "", "")


async def test_the_version_that_is_promoted_keeps_what_it_has_learnt(moved):
    await moved.serve(step=1)
    await moved.ask()
    fleet = moved.stage.gateway.fleet
    learnt = fleet.memory("m new")
    snapshot = moved.stage.gateway.follower.current.snapshot
    promoted = replace(
        snapshot,
        revision=1000,
        models={"m": replace(snapshot.models["m"], version="new")},
        progress={"r": Progress(phase="promoted", before="m-1", salt="s")},
    )
    moved.stage.gateway.follower.install(promoted)
    _, event = await moved.ask()
    assert event.version == version_name("new", NEW)
    assert fleet.memory("m new") is learnt


async def test_a_rollout_is_about_its_segment(moved):
    await moved.serve(replace(CANARY, where=Segment(tags=("team=pilot",))), step=1)
    _, pilot = await moved.ask(headers={"x-podium-tags": "team=pilot"})
    _, other = await moved.ask(headers={"x-podium-tags": "team=b"})
    assert (pilot.arm, other.arm, other.rollout) == ("candidate", "", "")


@pytest.mark.parametrize(
    "key", [{"admin": True}, {"endpoints": ("chat.completions", "versions")}, {"endpoints": ("*", "versions")}]
)
@pytest.mark.parametrize("phase", ["preparing", "running"])
async def test_testers_choose_a_version_that_takes_part(moved, key, phase):
    await moved.serve(key=key, phase=phase)
    for named, label in (("new", "new@"), (version_name("new", NEW), "new@"), ("m-1", "m-1@")):
        answer, event = await moved.ask(headers={"x-podium-version": named})
        assert answer.header("x-podium-version").startswith(label)
        assert (event.rollout, event.arm, event.subject) == ("r", "", "")
        assert event.answer_flags & AnswerFlag.OVERRIDDEN
    answer, event = await moved.ask(headers={"x-podium-version": "other-1"})
    assert answer.status == 400
    assert b"new, m-1" in answer.body


async def test_what_a_tester_asks_of_a_version_nobody_else_answers(moved):
    failure = {
        "retries": {"attempts": 1},
        "fallbacks": [{"model": "other", "on": ["down"]}],
        "last_resort": {"text": "sorry"},
    }
    await moved.serve(key={"admin": True}, phase="preparing", model=moved.stage.model("a", failure=failure))
    moved.stage["b"].behave(Mode.SERVER_ERROR, calls=1)
    answer, event = await moved.ask(headers={"x-podium-version": "new"})
    assert answer.status >= 500
    assert (event.fallbacks, moved.stage.calls("b")) == (0, [1])


async def test_other_keys_choose_no_version(moved):
    await moved.serve()
    answer, event = await moved.ask(headers={"x-podium-version": "new"})
    assert (answer.status, event.reason) == (403, "endpoint_not_allowed")
    assert moved.stage.calls("b") == [0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_candidate_is_taken_out_at_once_and_stays_out(moved, stream):
    await moved.serve(step=1)
    moved.stage["b"].behave(Mode.SERVER_ERROR)
    failed = 0
    for n in range(30):
        answer, event = await moved.ask(f"user-{n}", stream=stream)
        failed += answer.status != 200
    assert failed == 10
    assert event.version.startswith("m-1@")
    assert (event.rollout, event.arm) == ("r", "")
    (tripped,) = moved.stage.gateway.fleet.bursts.tripped()
    assert (tripped.rollout, tripped.salt, tripped.arm, tripped.failures) == ("r", "s", "candidate", 10)
    assert tripped.reason == "failures_in_a_row"
    await moved.serve(step=1, phase="paused")  # another revision of the same run
    assert (await moved.ask())[1].version.startswith("m-1@")
    assert moved.stage.gateway.fleet.bursts.tripped()[0].changed_unix_s == 2.0
    moved.stage["b"].behave(Mode.PLAIN)
    await moved.serve(step=1, salt="another")
    assert (await moved.ask())[1].arm == "candidate"
    assert not moved.stage.gateway.fleet.bursts.tripped()


async def test_a_candidate_that_hangs_is_taken_out_before_anybody_has_a_timeout(moved):
    await moved.serve(replace(CANARY, analysis=Analysis(burst_errors=4)), step=1)
    moved.stage["b"].behave(Mode.SILENT)
    async with AsyncExitStack() as stack:
        for n in range(4):
            await stack.enter_async_context(moved.stage.asking("m", user=f"user-{n}"))
            await eventually(lambda n=n: moved.stage.calls("b") == [n + 1])
        moved.stage.clock.advance(59)
        await stack.enter_async_context(moved.stage.asking("m", user="user-5"))
        await eventually(lambda: moved.stage.calls("b") == [5])
        moved.stage.clock.advance(2)
        answer = await moved.stage.ask("m")
        assert answer.header("x-podium-version").startswith("m-1@")
        (tripped,) = moved.stage.gateway.fleet.bursts.tripped()
        assert (tripped.reason, tripped.failures) == ("hangs", 4)


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("stream", [False, True])
async def test_empty_answers_are_failures_where_they_are_watched(moved, watched, stream):
    metrics = (Metric(name="empty_rate" if watched else "error_rate"),)
    await moved.serve(replace(CANARY, analysis=Analysis(metrics=metrics, burst_errors=3)), step=1)
    moved.stage["b"].behave(Behaviour(text=""))
    events = [(await moved.ask(f"user-{n}", stream=stream))[1] for n in range(5)]
    empty = [bool(event.answer_flags & AnswerFlag.EMPTY) for event in events]
    assert empty == ([True] * 3 + [False] * 2 if watched else [True] * 5)
    assert all(event.status == 200 for event in events)


async def test_wrong_requests_of_callers_say_nothing_of_a_version(moved):
    await moved.serve(step=1)
    moved.stage["b"].behave(Mode.BAD_REQUEST)
    for n in range(15):
        answer, event = await moved.ask(f"user-{n}")
        assert (answer.status, event.arm) == (400, "candidate")


async def test_what_another_model_answers_is_a_failure_of_the_arm_that_was_chosen(moved):
    fallback = [{"model": "other", "on": ["down"]}]
    failure = {"retries": {"attempts": 1}, "fallbacks": fallback}
    model = moved.stage.model("a", failure=failure)
    await moved.serve(replace(CANARY, candidate="new"), step=1, model=model, new=NEW)
    moved.stage["b"].behave(Mode.SERVER_ERROR, calls=1)
    answer, event = await moved.ask()
    assert answer.status == 200
    assert (event.arm, event.fallbacks, event.served_model) == ("candidate", 1, "other")
    assert moved.stage.gateway.fleet.bursts._arms["r", "candidate"].burst.failures == 1


async def test_a_candidate_that_cannot_be_called_here_is_not_chosen(moved):
    nowhere = Version(backends=(BackendSpec(provider="unknown", model="x"),))
    await moved.serve(step=1, new=nowhere)
    answer, event = await moved.ask()
    assert (answer.status, event.arm) == (200, "")
    assert event.version.startswith("m-1@")


async def test_arms_of_an_ab_test_are_told_by_name(moved):
    arms = (Arm(name="short", version="m-1"), Arm(name="long", version="new"))
    await moved.serve(Rollout(model="m", strategy="ab", arms=arms))
    events = [(await moved.ask(f"user-{n}"))[1] for n in range(30)]
    assert {(event.arm, event.provider) for event in events} == {("short", "a"), ("long", "b")}


async def test_of_an_experiments_arms_only_the_one_that_fails_is_taken_out(moved):
    arms = tuple(Arm(name=name, version=version) for name, version in [("a", "m-1"), ("b", "fine"), ("c", "new")])
    rollout = Rollout(model="m", strategy="ab", arms=arms)
    more = {"fine": Version(backends=(BackendSpec(provider="a", model="a-model"),), system_prompt="Be brief.")}
    await moved.serve(rollout, more=more)
    users = {arm: await moved.user_of(arm) for arm in "abc"}
    moved.stage["b"].behave(Mode.SERVER_ERROR)
    assert [(await moved.ask(users["c"]))[0].status == 200 for _ in range(12)] == [False] * 10 + [True] * 2
    served = {arm: (await moved.ask(user))[1] for arm, user in users.items()}
    assert [(event.arm, event.version.partition("@")[0]) for event in served.values()] == [
        ("a", "m-1"),
        ("b", "fine"),
        ("", "m-1"),
    ]
    (tripped,) = moved.stage.gateway.fleet.bursts.tripped()
    assert (tripped.rollout, tripped.arm) == ("r", "c")

    now = moved.stage.gateway.follower.current.rollouts["m"].chooser.progress
    await moved.serve(rollout, more=more, arms=handed_over(now.arms, {"c"}, arms[0]))  # control has heard of it
    assert {arm: (await moved.ask(user))[1].arm for arm, user in users.items()} == {"a": "a", "b": "b", "c": "a"}
    assert not moved.stage.gateway.fleet.bursts.tripped()


SHADOW = Rollout(model="m", candidate="new", strategy="shadow")


async def with_copy(moved, **more):
    """The events of the caller's exchange and of its copy."""
    _, own = await moved.ask(**more)
    return own, await moved.stage.event(moved.stage.gateway.events.index(own) + 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_mirrored_candidate_gets_a_copy_that_nobody_sees_or_pays_for(moved, stream):
    await moved.serve(SHADOW)
    moved.stage["b"].behave(Behaviour(text="new words"))
    answer, own = await moved.ask(stream=stream, headers={"x-request-id": "mine"})
    copy = await moved.stage.event(1)
    assert b"new" not in answer.body
    assert own.version.startswith("m-1@")
    assert (own.arm, own.answer_flags, own.key_id) == ("baseline", 0, "testkey00000")
    assert (copy.arm, copy.answer_flags, copy.key_id) == ("candidate", AnswerFlag.MIRRORED, "")
    assert (copy.version, copy.stream, copy.status) == (version_name("new", NEW), stream, 200)
    for field in ("tenant", "user", "model", "subject", "rollout", "request_id", "endpoint"):
        assert getattr(copy, field) == getattr(own, field)
    assert copy.cost_nanousd > 0
    assert moved.stage["b"].requests[0].body == moved.stage["a"].requests[0].body.replace(b"a-model", b"b-model")


async def test_a_mirrored_candidate_that_fails_harms_nobody_and_gets_no_more_copies(moved):
    fallback = {"retries": {"attempts": 1}, "fallbacks": [{"model": "other", "on": ["down"]}]}
    await moved.serve(SHADOW, model=moved.stage.model("a", failure=fallback))
    moved.stage["b"].behave(Mode.SERVER_ERROR)
    for _ in range(10):
        own, copy = await with_copy(moved)
        assert (own.status, copy.status >= 500, copy.fallbacks) == (200, True, 0)
    (tripped,) = moved.stage.gateway.fleet.bursts.tripped()
    assert (tripped.arm, tripped.failures) == ("candidate", 10)
    before = moved.stage.gateway.flight.mirrors.counts()
    assert (await moved.ask())[0].status == 200
    assert moved.stage.gateway.flight.mirrors.counts() == before


async def test_copies_are_dropped_and_counted_when_there_are_too_many(moved):
    await moved.serve(SHADOW)
    moved.stage["b"].behave(Mode.SILENT)
    for n in range(MOST_COPIES + 3):
        answer, _ = await moved.ask(f"user-{n}")
        assert answer.status == 200
    mirrors = moved.stage.gateway.flight.mirrors
    assert mirrors.counts() == {("made",): MOST_COPIES, ("dropped",): 3}
    await mirrors.close(1.0)
    copies = [event for event in moved.stage.gateway.events if event.answer_flags & AnswerFlag.MIRRORED]
    assert len(copies) == MOST_COPIES
    assert {event.reason for event in copies} == {"draining"}
    assert not moved.stage.gateway.fleet.bursts.tripped()


async def test_what_failed_for_its_caller_is_copied_too(moved):
    await moved.serve(SHADOW)
    moved.stage["a"].behave(Mode.SERVER_ERROR)
    own, copy = await with_copy(moved)
    assert (own.status >= 500, copy.status) == (True, 200)


JSON_ASKED = {"response_format": {"type": "json_object"}, "content": "as JSON, please"}
NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
SCHEMA_ASKED = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "number", "schema": NUMBER}},
    "content": "as JSON, please",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "fields", "flags", "reason"),
    [
        (Behaviour(text="hello there"), {}, AnswerFlag(0), "stop"),
        (Behaviour(text="one two", stop="length"), {}, AnswerFlag(0), "length"),
        (Behaviour(text=""), {}, AnswerFlag.EMPTY, "stop"),
        (Behaviour(text='{"a": 1}'), JSON_ASKED, AnswerFlag.FORMAT_ASKED, "stop"),
        (Behaviour(text='{"a": 1'), JSON_ASKED, AnswerFlag.FORMAT_ASKED | AnswerFlag.FORMAT_INVALID, "stop"),
        (Behaviour(text='{"a": 1}'), SCHEMA_ASKED, AnswerFlag.FORMAT_ASKED, "stop"),
        (Behaviour(text='{"b": 1}'), SCHEMA_ASKED, AnswerFlag.FORMAT_ASKED | AnswerFlag.FORMAT_INVALID, "stop"),
        (Mode.CONTENT_FILTER, {}, AnswerFlag.REFUSED, "content_filter"),
    ],
)
async def test_what_became_of_an_answer_is_noted(moved, stream, behaviour, fields, flags, reason):
    await moved.serve(step=1)
    moved.stage["b"].behave(behaviour)
    _, event = await moved.ask(stream=stream, **fields)
    assert (AnswerFlag(event.answer_flags), event.finish_reason) == (flags, reason)


async def test_of_a_message_too(moved):
    await moved.serve(step=1)
    moved.stage["b"].behave(Behaviour(text=""))
    for stream in (False, True):
        before = len(moved.stage.gateway.events)
        await moved.stage.ask("m", to="messages", stream=stream)
        event = await moved.stage.event(before)
        assert AnswerFlag(event.answer_flags) == AnswerFlag.EMPTY
        assert event.finish_reason == "end_turn"


async def test_only_those_take_part_whom_the_rollouts_flag_lets_in(moved):
    await moved.serve(replace(CANARY, steps=(Step(percent=100),), flag="enable_new_model"))
    follower = moved.stage.gateway.follower

    def declare(**spec):
        snapshot = follower.current.snapshot
        rules = (Rule(when=(Condition(attribute="user", in_=("ann", "ben")),), variant="on"),)
        flags = {"enable_new_model": Flag(type="boolean", rules=rules, **spec)}
        follower.install(replace(snapshot, revision=snapshot.revision + 1, flags=flags))

    async def providers():
        events = [(await moved.ask(user))[1] for user in ("ann", "ben", "cleo")]
        assert all((event.provider == "b") == (event.rollout == "r") for event in events)
        return [event.provider for event in events]

    assert await providers() == ["a", "a", "a"]  # it cannot be evaluated: nobody takes part
    declare()
    assert await providers() == ["b", "b", "a"]
    declare(enabled=False)
    assert await providers() == ["a", "a", "a"]
    counts = moved.stage.gateway.flight.flag_counts.totals()
    assert counts["enable_new_model", "on", "gateway"] == 2
