import asyncio

import pytest
from sqlalchemy import text

from podium.control.experiments.views import PlanRequest
from podium.control.rollouts.ports import Trial, Trip
from podium.core.errors import Conflict, InvalidRequest, NotFound
from podium.delivery.experiments.design import design_digest
from podium.delivery.phases import Happening
from podium.testing.events import make_event

CHEAPER = {"long": 1e6, "short": 0.8e6}
RATE = {"measure": "error_rate", "effect": 0.01}


def past(world, count, *, days=3.0, **changes):
    """Exchanges of the model in the days before, a tenth of them failed."""
    for number in range(count):
        ago_ns = int(days * 86400e9 * (number + 1) / count)
        failed = {"reason": "upstream_error", "fault": "upstream", "status": 502} if number % 10 == 0 else {}
        fields = {"model": "chat", "user": f"u{number}", "cost_nanousd": 1000 + 50 * (number % 60), **failed}
        yield make_event(**(fields | {"started_unix_ns": world.clock.unix_ns() - ago_ns} | changes))


async def test_a_plan_starts_from_what_the_ledger_knows(world):
    await world.load(past(world, 600))
    await world.load(past(world, 300, model="talk"))  # by its alias
    await world.load(past(world, 500, model="other"))
    made = await world.experiments.plan(PlanRequest(model="chat", **RATE))

    assert made.base == pytest.approx(0.1)
    assert (made.known_from, round(made.known_samples)) == ("ledger", 900)
    assert made.exchanges_per_day == pytest.approx(900 / 4)  # of a model of three days
    assert made.methods[0].days == pytest.approx(made.methods[0].total / 225, rel=1e-3)


async def test_what_is_said_goes_before_the_ledger(world):
    await world.load(past(world, 600))
    made = await world.experiments.plan(PlanRequest(model="chat", base=0.02, exchanges_per_day=10_000, **RATE))

    assert (made.base, made.known_from, made.exchanges_per_day) == (0.02, "given", 10_000)


async def test_a_declared_experiment_is_planned_as_it_is_designed(world):
    await world.declare(effect=-0.2, alpha=0.01, power=0.9, arms=("long", "short", "odd"))
    await world.load(past(world, 600))
    made = await world.experiments.plan(PlanRequest(experiment="prompts"))

    assert (made.measure, made.effect, made.alpha, made.power, made.arms) == ("cost_nanousd", -0.2, 0.01, 0.9, 3)
    assert all(one.samples and one.detectable for one in made.methods)  # of the samples that it plans, too
    other = await world.experiments.plan(PlanRequest(experiment="prompts", effect=-0.1, days=30))
    assert other.effect == -0.1
    assert other.methods[0].samples > made.methods[0].samples
    errors = await world.experiments.plan(PlanRequest(experiment="prompts", measure="error_rate"))
    assert (errors.effect, errors.methods[0].samples) == (None, None)  # what matters of another measure is not known
    assert errors.methods[0].detectable > 0


async def test_a_plan_says_what_its_guardrails_notice(world):
    await world.declare(metrics=["error_rate", "empty_rate"], samples=2000)
    await world.load(past(world, 600))
    (guard,) = (await world.experiments.plan(PlanRequest(experiment="prompts"))).guardrails  # of empty ones none knows

    assert (guard.measure, guard.scale, guard.tolerance) == ("error_rate", "absolute", 0.05)
    assert 0.06 < guard.notices < 0.15
    assert (await world.experiments.plan(PlanRequest(model="chat", **RATE))).guardrails == ()


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"experiment": "nobody"}, NotFound),
        ({"experiment": "plain"}, NotFound),
        ({}, InvalidRequest),
        ({"model": "chat"}, InvalidRequest),
        ({"model": "chat", **RATE}, InvalidRequest),  # there was no traffic
        ({"model": "chat", "measure": "judge_score", "effect": 0.1}, InvalidRequest),
        ({"model": "unknown", "measure": "ttft_ms", "days": 7, "base": 800, "deviation": 5}, InvalidRequest),
    ],
)
async def test_what_cannot_be_planned_is_refused(world, asked, error):
    with pytest.raises(error):
        await world.experiments.plan(PlanRequest(**asked))


async def test_starting_freezes_the_design(world):
    await world.declare()
    standing = await world.standing()
    (before,) = await world.experiments.all()
    await world.experiments.start("prompts", author="anna", message="Half the prompt")
    await world.happen(Happening.PREPARED)
    (after,) = await world.experiments.all()

    wanted = design_digest(standing.rollout, standing.version)
    assert (before.frozen, before.phase, before.design) == (False, "pending", wanted)
    assert (after.frozen, after.phase, after.design) == (True, "running", wanted)
    assert (await world.standing()).progress.design == wanted
    with pytest.raises(Conflict, match="under way and cannot be another plan"):
        await world.declare(samples=5)
    with pytest.raises(Conflict):
        await world.apply("{kind: Version, name: v2, spec: {backends: [{provider: p, model: other}]}}")


async def test_only_experiments_are_started_stopped_and_reported(world):
    for asked in (
        world.experiments.start("plain", author="anna"),
        world.experiments.stop("plain", author="anna"),
        world.experiments.report("plain"),
        world.experiments.report("nobody"),
    ):
        with pytest.raises(NotFound):
            await asked


async def test_what_never_ran_is_not_reported(world):
    await world.declare()
    with pytest.raises(Conflict, match="never started"):
        await world.experiments.report("prompts")


async def test_it_is_stopped_with_a_winner_or_without(world):
    await world.start()
    with pytest.raises(InvalidRequest, match="`tall` is no arm; there are long, short"):
        await world.experiments.stop("prompts", author="anna", winner="tall")
    assert (await world.experiments.stop("prompts", author="anna", message="no more")).phase == "aborted"
    await world.experiments.start("prompts", author="anna")
    await world.happen(Happening.PREPARED)
    ended = await world.experiments.stop("prompts", author="anna", winner="short")

    assert ended.phase == "promoted"
    standing = await world.standing()
    assert (standing.model.version, standing.progress.winner) == ("v2", "short")


async def test_a_report_tells_effects_money_segments_and_the_ratio(world):
    await world.start(metrics=["error_rate"])
    await world.traffic(900, costs=CHEAPER)
    found = await world.experiments.report("prompts")

    assert (found.complete, found.believable, found.ended, found.warnings) == (True, True, False, ())
    row = found.effects[0]
    assert (row.measure, row.arm, row.finding, row.role) == ("cost_nanousd", "short", "better", "primary")
    assert row.effect == pytest.approx(-0.2, abs=0.02)
    assert sum(arm.exchanges for arm in found.arms) == 900
    assert found.money.answers_per_month == pytest.approx(900 * 24 * 30.44, rel=0.01)
    assert not found.ratio.mismatch
    names = [(one.kind, one.name) for one in found.segments]
    assert names[0] == ("tier", "gold")
    assert set(names[1:]) == {("tenant", "acme"), ("tenant", "beta"), ("tenant", "free")}
    gold, *tenants = [segment.effects[0] for segment in found.segments]
    by_name = dict(zip([name for _, name in names[1:]], tenants, strict=True))
    assert gold.samples == by_name["acme"].samples + by_name["beta"].samples
    assert sum(tenant.samples for tenant in tenants) == row.samples
    assert {one.unix_s for one in found.timeline}


async def test_stopped_early_it_is_still_reported_and_loudly(world):
    await world.start(method="fixed")
    await world.traffic(200, costs=CHEAPER)
    await world.experiments.stop("prompts", author="anna")
    found = await world.experiments.report("prompts")

    assert (found.ended, found.complete, found.decided_by) == (True, False, "sequential")
    assert found.warnings[0].startswith("STOPPED BEFORE ITS PLANNED SAMPLE")
    assert found.ratio is not None  # shares are those of the design


async def test_changed_after_its_end_it_is_reported_by_the_frozen_design(world):
    await world.start(hypothesis="As it was.")
    await world.traffic(200)
    await world.experiments.stop("prompts", author="anna")
    frozen = (await world.standing()).progress.design
    await world.declare(hypothesis="Another one.", primary="error_rate", effect=0.01)
    await world.declare(hypothesis="A third one.", primary="error_rate", effect=0.02)
    found = await world.experiments.report("prompts")

    assert (found.hypothesis, found.experiment.primary) == ("As it was.", "cost_nanousd")
    assert (found.design, found.design_unchanged, found.believable) == (frozen, False, False)
    assert "is not the one that was frozen" in found.warnings[0]


async def test_an_adaptive_one_is_reported_with_each_arm_in_its_own_time(world, adaptive):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], samples=100_000, adaptive=adaptive)
    await world.traffic(900, costs=CHEAPER, spoilt="odd")
    await world.loop.once()
    for _ in range(3):
        await world.traffic(500, costs=CHEAPER)
        await world.loop.once()
    found = await world.experiments.report("prompts")

    assert [arm.taken_out for arm in found.arms] == [False, False, True]
    effects = {(row.measure, row.arm): row for row in found.effects}
    assert effects["cost_nanousd", "short"].finding == "better"
    assert effects["error_rate", "odd"].guardrail_failed
    assert effects["error_rate", "odd"].samples < 350  # until it was taken out
    assert {segment.name for segment in found.segments} == {"gold", "acme", "beta", "free"}
    assert not found.ratio.mismatch
    assert {arm.name for arm in found.arms if arm.ended} == {"odd"}
    expected = found.ratio.expected
    await world.experiments.stop("prompts", author="anna")
    assert (await world.experiments.report("prompts")).ratio.expected == expected  # of all periods, to the end


async def forget_sums(world):
    await world.store.forget_sums("prompts", 2**62)
    assert not await world.store.arms_seen("prompts", (await world.standing()).progress)


@pytest.mark.parametrize("end", ["stop", "stop with a winner", "abort", "guardrail", "burst", "changed design"])
async def test_however_it_ends_its_evidence_is_kept_and_the_report_is_read_without_the_sums(world, end):
    await world.start(metrics=["error_rate"])
    await world.traffic(900, costs=CHEAPER, spoilt="short" if end == "guardrail" else ())
    frozen = (await world.standing()).progress
    match end:
        case "stop":
            await world.experiments.stop("prompts", author="anna", message="no more")
        case "stop with a winner":
            await world.experiments.stop("prompts", author="anna", winner="short")
        case "abort":
            await world.rollouts.abort("prompts", author="anna")
        case "burst":
            trip = Trip(rollout="prompts", salt=frozen.salt, arm="short", gateway="g", detail="dead")
            world.gateways.tripped = (trip,)
            await world.loop.return_tripped()
        case "guardrail":
            await world.loop.move_on()
        case "changed design":
            changed = text("UPDATE resources SET spec = replace(spec, :old, :new)")
            async with world.store._database.write() as connection:
                await connection.execute(changed, {"old": '"samples":300', "new": '"samples":3'})
            world.standings._known_revision = -1
            await world.loop.move_on()
    live = await world.experiments.report("prompts")
    progress = (await world.standing()).progress
    bundle = await world.rollouts.evidence("prompts", progress.evidence)
    await forget_sums(world)
    kept = await world.experiments.report("prompts")

    assert live.ended
    assert kept == live
    assert kept.phase == progress.phase
    assert kept.design == frozen.design == bundle.progress.design
    assert sum(arm.counts["exchanges"] for arm in bundle.arms) == 900
    assert {one.name for one in bundle.metrics} >= {"cost_nanousd", "error_rate"}
    assert bundle.timeline
    assert bundle.revisions


async def test_one_whose_versions_never_answer_keeps_why(world):
    world.gateways.trials = (Trial(gateway="g", answered=False, detail="503 no backend"),)
    await world.declare()
    await world.experiments.start("prompts", author="anna")
    for _ in range(10):
        await world.loop.once()
        await asyncio.sleep(0)  # a trial's turn
        world.clock.advance(10)
    progress = (await world.standing()).progress
    bundle = await world.rollouts.evidence("prompts", progress.evidence)

    assert (progress.phase, bundle.happening, bundle.verdict) == ("failed", "could_not_prepare", None)
    assert "503 no backend" in bundle.detail
    assert bundle.experiment["phase"] == (await world.experiments.report("prompts")).phase == "failed"


async def test_one_that_was_deleted_is_still_reported(world):
    await world.start()
    await world.traffic(200)
    await world.experiments.stop("prompts", author="anna")
    found = await world.experiments.report("prompts")
    await world.resources.delete("Rollout", "prompts", author="anna")

    assert await world.experiments.report("prompts") == found
    with pytest.raises(NotFound):
        await world.experiments.report("another")


async def test_a_run_is_reported_by_its_own_evidence(world):
    await world.declare()
    for _ in range(2):
        await world.experiments.start("prompts", author="anna")
        await world.happen(Happening.PREPARED)
        await world.traffic(100)
        await world.experiments.stop("prompts", author="anna")
    await forget_sums(world)
    notes = await world.rollouts.evidence_of("prompts")
    found = await world.experiments.report("prompts")

    assert len(notes) == 2
    assert found.started_unix_s == (await world.standing()).progress.started_unix_s
    await world.rollouts.start("prompts", author="anna")
    await world.experiments.stop("prompts", author="anna")  # before anybody had it: nothing was seen
    assert sum(arm.exchanges for arm in (await world.experiments.report("prompts")).arms) == 0


async def test_a_promotion_that_was_undone_is_reported_as_such(world):
    await world.start()
    await world.traffic(100)
    await world.experiments.stop("prompts", author="anna", winner="short")
    await world.rollouts.undo("prompts", author="anna", message="users complain")
    await forget_sums(world)
    found = await world.experiments.report("prompts")

    assert (found.phase, found.reason, sum(arm.exchanges for arm in found.arms)) == ("returned", "undone", 100)


async def test_an_operator_ends_it_even_if_its_evidence_takes_for_ever(world, monkeypatch):
    async def endless(*arguments):
        await asyncio.sleep(60)

    monkeypatch.setattr("podium.control.rollouts.use._EVIDENCE_S", 0.01)
    monkeypatch.setattr(world.analyst, "keep", endless)
    await world.start()

    assert (await world.experiments.stop("prompts", author="anna")).phase == "aborted"


async def test_the_list_tells_how_far_each_is(world):
    await world.start()
    await world.traffic(100)
    (one,) = await world.experiments.all()

    assert (one.name, one.primary, one.method, one.adaptive, one.arms) == (
        "prompts",
        "cost_nanousd",
        "sequential",
        False,
        ("long", "short"),
    )
    assert 30 < one.exchanges < 60
    assert one.planned == 300
