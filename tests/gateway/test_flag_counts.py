from podium.delivery.flags.values import ErrorCode, Evaluation, EvaluationReason, failure
from podium.gateway import flag_counts
from podium.gateway.flag_counts import FlagCounts

ON = Evaluation(reason=EvaluationReason.DEFAULT, variant="on", value=True)


def test_evaluations_are_counted_with_the_last_time():
    counts = FlagCounts(100.0)
    counts.count("a", ON, "ofrep", 101.0)
    counts.count("a", ON, "ofrep", 102.0)
    counts.count("a", failure(ErrorCode.GENERAL, "no"), "gateway", 103.0)

    uses = {(one.flag, one.variant, one.asker): (one.count, one.last_unix_s) for one in counts.uses()}

    assert uses == {("a", "on", "ofrep"): (2, 102.0), ("a", "", "gateway"): (1, 103.0)}
    assert counts.since_unix_s == 100.0


def test_they_do_not_grow_without_bound(monkeypatch):
    monkeypatch.setattr(flag_counts, "_MAX", 10)
    counts = FlagCounts(0.0)
    for number in range(100):
        counts.count(f"f{number}", ON, "ofrep", 1.0)
    counts.count("f3", ON, "ofrep", 2.0)

    assert len(counts.totals()) == 11
    assert counts.totals()["other", "", "ofrep"] == 90
    assert counts.totals()["f3", "on", "ofrep"] == 2
