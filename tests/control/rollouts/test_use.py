import asyncio
from datetime import UTC, datetime

import pytest

from podium.control.documents import parse_documents
from podium.control.problems import StateConflict
from podium.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from podium.delivery.phases import Happening

ANNA, BERT, CARO = "aaaaaaaaaaaa/anna", "bbbbbbbbbbbb/bert", "cccccccccccc/caro"
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
STEPS = [{"percent": 5}, {"percent": 50, "pause": True}, {"percent": 100}]


async def refused(awaitable, *words, error=Conflict):
    with pytest.raises(error) as caught:
        await awaitable
    assert type(caught.value) is error or error is Conflict
    text = f"{caught.value.message} {caught.value.hint}"
    assert all(word in text for word in words), text
    return caught.value


async def test_a_rollout_that_was_never_started_is_pending(declared, rollouts):
    await declared()
    (one,) = await rollouts.all()
    assert (one.phase, one.before, one.candidate, one.waits, one.ended) == ("pending", "v1", "v2", True, False)
    await refused(rollouts.get("x"), "no Rollout `x`", error=NotFound)


async def test_a_canary_goes_from_start_to_promotion_and_back(declared, rollouts, happen, version_of, resource_store):
    await declared(steps=STEPS)
    one = await rollouts.start("r", author=ANNA, message="better prompt")
    assert (one.phase, one.detail, one.arms) == ("preparing", "better prompt", ())
    await happen(Happening.PREPARED)
    one = await rollouts.get("r")
    assert {(arm.name, arm.version, arm.percent) for arm in one.arms} == {
        ("candidate", "v2", 5.0),
        ("baseline", "v1", 5.0),
    }
    assert await version_of() == "v1"
    await happen(Happening.STEP_DONE)
    await happen(Happening.STEP_DONE)
    one = await rollouts.get("r")
    assert (one.phase, one.step, one.waits, one.reason) == ("paused", 1, True, "waits_for_operator")
    one = await rollouts.promote("r", author=BERT)
    assert (one.phase, one.step) == ("running", 2)
    await happen(Happening.STEP_DONE)
    one = await rollouts.get("r")
    assert (one.phase, one.ended, await version_of()) == ("promoted", True, "v2")
    promotion = (await resource_store.revisions(before=None, limit=1))[0]
    assert {change.kind for change in promotion.changes} == {"Progress", "Model"}  # one revision, or nothing
    one = await rollouts.undo("r", author=BERT, message="users complain")
    assert (one.phase, one.reason, await version_of()) == ("returned", "undone", "v1")
    undone = (await resource_store.revisions(before=None, limit=1))[0]
    assert undone.author == BERT
    assert undone.message == "rollout r: returned (undone): users complain"


async def test_to_the_end_at_once_and_a_start_anew(declared, rollouts, happen, version_of):
    await declared()
    await rollouts.start("r", author=ANNA)
    progress = await happen(Happening.PREPARED)
    assert (await rollouts.abort("r", author=ANNA)).phase == "aborted"
    await rollouts.start("r", author=ANNA)
    again = await happen(Happening.PREPARED)
    assert again.salt != progress.salt
    one = await rollouts.promote("r", author=ANNA, to_end=True)
    assert (one.phase, await version_of()) == ("promoted", "v2")
    await refused(rollouts.start("r", author=ANNA), "is the version of the model `chat` already")


async def test_an_arm_of_an_ab_test_is_promoted_by_name(declared, rollouts, happen, version_of):
    arms = [{"name": "a", "version": "v1"}, {"name": "b", "version": "v3"}]
    await declared(strategy="ab", candidate=None, arms=arms)
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    await refused(rollouts.promote("r", author=ANNA, to_end=True), "name the arm")
    await rollouts.promote("r", author=ANNA, arm="b")
    assert await version_of() == "v3"


async def test_the_design_of_an_experiment_is_frozen_when_it_starts(declared, rollouts, resources, happen):
    arms = [{"name": "a", "version": "v1"}, {"name": "b", "version": "v3"}]
    asked = {"hypothesis": "shorter", "primary": "output_tokens", "effect": -0.1, "samples": 1000}
    await declared(strategy="ab", candidate=None, arms=arms, experiment=asked)
    assert (await rollouts.get("r")).design == ""
    started = await rollouts.start("r", author=ANNA)
    assert len(started.design) == 64
    await happen(Happening.PREPARED)
    assert (await rollouts.get("r")).design == started.design
    await rollouts.abort("r", author=ANNA)
    assert (await rollouts.start("r", author=ANNA)).design == started.design
    await rollouts.abort("r", author=ANNA)
    await declared(strategy="ab", candidate=None, arms=arms, experiment={**asked, "samples": 2000})
    assert (await rollouts.start("r", author=ANNA)).design != started.design


async def test_pause_and_resume(declared, rollouts, happen):
    await declared()
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    paused = await rollouts.pause("r", author=ANNA, message="a demo at noon")
    assert (paused.phase, paused.waits, len(paused.arms)) == ("paused", True, 2)
    assert await happen(Happening.STEP_DONE) == (await happen(Happening.PREPARED))  # nothing moves it on
    resumed = await rollouts.resume("r", author=BERT)
    assert (resumed.phase, resumed.arms) == ("running", paused.arms)


async def test_the_second_of_two_operators_is_told_what_the_first_did(declared, rollouts, happen):
    await declared(steps=STEPS)
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    seen = (await rollouts.get("r")).changed_unix_s
    await rollouts.promote("r", author=ANNA, message="all is well", seen=seen)
    await refused(
        rollouts.promote("r", author=BERT, seen=seen),
        "moved since you saw it by aaaaaaaaaaaa/anna",
        "all is well",
        "running at step 2",
        "podium rollout show r",
    )
    assert (await rollouts.get("r")).step == 1


async def test_of_two_operators_at_the_same_moment_one_wins(declared, rollouts, happen, resource_store):
    await declared(steps=STEPS)
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    seen = (await rollouts.get("r")).changed_unix_s
    before = (await resource_store.revisions(before=None, limit=1))[0].number
    commands = [rollouts.promote("r", author=f"{one}/x", seen=seen) for one in "abcdefgh"]
    done = await asyncio.gather(*commands, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Conflict"] * 7 + ["RolloutView"]
    assert (await resource_store.revisions(before=None, limit=1))[0].number == before + 1


async def test_a_command_without_what_was_seen_is_about_what_it_reads_first(declared, rollouts, happen, standings):
    await declared(steps=STEPS)
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    done = await asyncio.gather(*(rollouts.promote("r", author=f"{one}/x") for one in "abcd"), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in done) >= 1
    assert (await rollouts.get("r")).step == sum(not isinstance(one, Conflict) for one in done)


async def test_what_others_declare_meanwhile_does_not_matter(declared, rollouts, happen, resources):
    await declared()
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    seen = (await rollouts.get("r")).changed_unix_s

    async def unrelated():
        for number in range(20):
            await resources.apply(parse_documents(f"{{kind: Tenant, name: t{number}}}"), author="test")

    one, _ = await asyncio.gather(rollouts.pause("r", author=ANNA, seen=seen), unrelated())
    assert one.phase == "paused"


async def test_approvals_come_from_others_than_who_asked(declared, rollouts, happen, version_of):
    await declared(steps=[{"percent": 100}], approval={"before": ["start", "promote"], "approvals": 2})
    one = await rollouts.start("r", author=f"{ANNA} (anna@laptop)")
    assert (one.phase, one.asked_by, one.approvals_missing) == ("pending", ANNA, 2)
    await refused(rollouts.approve("r", author=f"{ANNA} (somebody else, she says)"), "who asked")
    one = await rollouts.approve("r", author=BERT)
    assert (one.phase, one.approvals_missing, one.approved_by) == ("pending", 1, (BERT,))
    await refused(rollouts.approve("r", author=f"{BERT} (again)"), "approved it already")
    assert (await rollouts.approve("r", author=CARO)).phase == "preparing"
    await happen(Happening.PREPARED)
    await happen(Happening.STEP_DONE)  # the loop asks; anybody may agree
    one = await rollouts.get("r")
    assert (one.phase, one.reason, one.approvals_missing) == ("paused", "waits_for_promotion", 2)
    await refused(rollouts.promote("r", author=ANNA, to_end=True), "waits for approvals")
    await rollouts.approve("r", author=ANNA)
    assert await version_of() == "v1"
    await rollouts.approve("r", author=BERT)
    assert await version_of() == "v2"


async def test_nothing_starts_inside_a_freeze(declared, rollouts):
    await declared(freeze=[{"days": DAYS}])
    await refused(rollouts.start("r", author=ANNA), "it is frozen")


async def test_inside_a_freeze_a_rollout_is_paused_and_aborted(declared, rollouts, happen, clock):
    tomorrow = DAYS[(datetime.fromtimestamp(clock.unix_ns() / 1e9, UTC).weekday() + 1) % 7]
    await declared(freeze=[{"days": [tomorrow]}])
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    clock.advance(86_400)
    await refused(rollouts.promote("r", author=ANNA), "it is frozen")
    assert (await rollouts.pause("r", author=ANNA)).phase == "paused"
    assert (await rollouts.resume("r", author=ANNA)).phase == "running"
    assert (await rollouts.abort("r", author=ANNA)).phase == "aborted"


async def test_one_rollout_of_a_model_at_a_time(declared, rollouts):
    await declared()
    await declared("{kind: Rollout, name: other, spec: {model: chat, candidate: v3}}")
    await rollouts.start("r", author=ANNA)
    await refused(rollouts.start("other", author=BERT), "rollout `r` of the model `chat` is under way")


async def test_an_old_promotion_is_not_taken_back_over_a_newer_one(declared, rollouts, happen, version_of):
    await declared()
    await declared("{kind: Rollout, name: other, spec: {model: chat, candidate: v3}}")
    for name in ("r", "other"):
        await rollouts.start(name, author=ANNA)
        await happen(Happening.PREPARED, name)
        await rollouts.promote(name, author=ANNA, to_end=True)
    await refused(rollouts.undo("r", author=ANNA), "has moved on to `v3` since")
    await rollouts.undo("other", author=ANNA)
    await rollouts.undo("r", author=ANNA)
    assert await version_of() == "v1"


async def test_a_promotion_is_not_taken_back_under_another_rollout(declared, rollouts, happen):
    await declared()
    await declared("{kind: Rollout, name: other, spec: {model: chat, candidate: v3}}")
    await rollouts.start("r", author=ANNA)
    await happen(Happening.PREPARED)
    await rollouts.promote("r", author=ANNA, to_end=True)
    await rollouts.start("other", author=ANNA)
    await refused(rollouts.undo("r", author=ANNA), "rollout `other` is moving this model", error=StateConflict)


async def test_what_is_not_possible_here_is_a_conflict(declared, rollouts):
    await declared()
    for command in (rollouts.pause, rollouts.resume, rollouts.promote, rollouts.abort, rollouts.approve, rollouts.undo):
        await refused(command("r", author=ANNA))
    await refused(rollouts.start("r", author="", message=""), error=InvalidRequest)
    await refused(rollouts.start("r", author=ANNA, message="x" * 1001), error=InvalidRequest)


async def test_a_clock_that_was_put_back_does_not_confuse_what_was_seen(declared, rollouts, clock):
    await declared()
    first = await rollouts.start("r", author=ANNA)
    clock.jump(-3600)
    second = await rollouts.abort("r", author=ANNA)
    assert second.changed_unix_s > first.changed_unix_s


@pytest.mark.parametrize("resource_store", ["memory"], indirect=True)
async def test_while_the_database_is_away_nothing_is_promised(declared, rollouts, resource_store):
    await declared()
    resource_store.down = True
    await refused(rollouts.start("r", author=ANNA), error=Unavailable)
