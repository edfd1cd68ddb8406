from podium.core.event import AnswerFlag
from podium.testing.events import make_call


def nonsense(chance):
    return {"answer_flags": int(AnswerFlag.EMPTY) if chance.random() < 0.4 else 0}


TWO = ("p/a", "p/b")


def test_a_broken_replica_is_named_within_a_minute_and_the_version_goes_on(kit):
    """20 exchanges a second, half of them the candidate's; one of its two replicas spoils a fifth of its answers."""
    needed = []
    for seed in range(5):
        traffic = kit.Traffic(seed, backends=TWO)
        while traffic.turn < 1200:
            verdict = kit.verdict(traffic.run(20, bad_backend="p/b", bad=nonsense), kit.rollout())
            assert verdict.outcome in ("running", "success")
            if verdict.backends:
                break
        needed.append(traffic.turn / 20)
        (found,) = verdict.backends
        assert (verdict.outcome, verdict.reason) == ("running", "backend_worse")
        assert (found.arm, found.backend, found.others) == ("candidate", "p/b", ("p/a",))
        assert "empty_rate" in verdict.detail
    assert max(needed) < 60


def test_a_backend_that_was_taken_out_is_forgotten(kit):
    traffic = kit.Traffic(1, backends=TWO).run(1200, bad_backend="p/b", bad=nonsense)
    verdict = kit.verdict(traffic, kit.rollout(), taken_out=frozenset({"p/b"}))
    assert (verdict.outcome, verdict.backends) == ("success", ())


def test_when_all_replicas_are_bad_the_version_is(kit):
    traffic = kit.Traffic(2, backends=TWO).run(1200, candidate=nonsense)
    verdict = kit.verdict(traffic, kit.rollout())
    assert (verdict.outcome, verdict.backends) == ("failed", ())


def test_when_one_is_worse_and_the_rest_bad_too_the_version_fails(kit):
    def worst(chance):
        return {"answer_flags": int(AnswerFlag.EMPTY) if chance.random() < 0.9 else 0}

    traffic = kit.Traffic(3, backends=TWO).run(1200, candidate=nonsense, bad_backend="p/b", bad=worst)
    assert kit.verdict(traffic, kit.rollout()).outcome == "failed"


def test_replicas_that_are_alike_are_left_alone(kit):
    for seed in range(10):
        traffic = kit.Traffic(seed, backends=("p/a", "p/b", "p/c"))
        for _ in range(6):
            verdict = kit.verdict(traffic.run(100, candidate=kit.empty(0.1), baseline=kit.empty(0.1)), kit.rollout())
            assert verdict.backends == ()


def test_a_slow_replica_is_not_a_broken_one(kit):
    def slow(chance):
        return {"first_byte_ns": 900_000_000, "ended_ns": 2_000_000_000}

    traffic = kit.Traffic(4, backends=TWO).run(1000, bad_backend="p/b", bad=slow)
    assert kit.verdict(traffic, kit.rollout(kit.Metric(name="error_rate"))).backends == ()


def test_a_replica_whose_calls_fail_is_named_and_one_that_was_away_for_a_while_is_not(kit):
    def retried(rate):
        def make(chance):
            if chance.random() >= rate:
                return {}
            calls = make_call(backend="p/b", reason="upstream_error"), make_call(backend="p/a", kind="retry")
            return {"trail": calls, "attempts": 2}

        return make

    failing = kit.Traffic(5, backends=TWO).run(1200, bad_backend="p/b", bad=retried(0.6))
    verdict = kit.verdict(failing, kit.rollout())
    (found,) = verdict.backends
    assert (found.backend, found.shown_by[0].name) == ("p/b", "call_failure_rate")
    assert all(one.decision != "worse" for one in verdict.metrics)  # its users had answers: calls were repeated
    away = kit.Traffic(6, backends=TWO).run(600).run(60, bad_backend="p/b", bad=retried(1.0)).run(600)
    assert kit.verdict(away, kit.rollout()).backends == ()
