import pytest
from harness.results import Run, Series, joined_series


def series(metric, **more):
    run = Run(metric=metric, contestant="podium", round=1, values={"x": 1.0})
    facts = {"started": "1", "commit": "c", "quick": False, "rounds": 7, "machine": {"cores": "2"}} | more
    return Series(versions={metric: "1"}, titles={metric: "P"}, abouts={}, runs=[run], ended=f"end {metric}", **facts)


def test_runs_of_different_metrics_make_one_series():
    later, earlier = series("engine", started="2", calibration_ms=[{0: 2.0}]), series("soak", calibration_ms=[{0: 1.0}])

    joined = joined_series([later, earlier])

    assert [run.metric for run in joined.runs] == ["soak", "engine"]
    assert (joined.started, joined.ended) == ("1", "end engine")
    assert joined.titles == {"soak": "P", "engine": "P"}
    assert joined.calibration_ms == [{0: 1.0}, {0: 2.0}]
    assert [run.metric for run in earlier.runs] == ["soak"]


def test_of_runs_with_fewer_rounds_the_most_are_told():
    assert joined_series([series("soak", rounds=4), series("engine", rounds=7)]).rounds == 7


@pytest.mark.parametrize("change", [{"machine": {"cores": "4"}}, {"quick": True}])
def test_runs_that_do_not_belong_together_are_refused(change):
    with pytest.raises(ValueError, match="one machine"):
        joined_series([series("soak"), series("engine", **change)])


def test_of_a_metric_that_was_measured_twice_the_last_run_counts():
    joined = joined_series([series("soak", started="2", commit="d"), series("soak"), series("engine")])

    assert [run.metric for run in joined.runs] == ["engine", "soak"]
    assert joined.commit == "d: soak; c: engine"
