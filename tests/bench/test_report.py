from harness.report import render
from harness.results import Run, Series, load_series, save_series


def series(**further):
    return Series(
        started="2026-01-01 10:00 UTC",
        commit="abc",
        quick=False,
        rounds=7,
        machine={"cores": "2"},
        versions={"nginx": "nginx 1", "vllm-router": "vllm-router 0.1.17", "podium": "Podium 0.1.0"},
        titles={"nginx": "nginx", "vllm-router": "vllm-router", "podium": "Podium"},
        abouts={},
        ended="2026-01-01 11:00 UTC",
        **further,
    )


def runs(contestant, *values, metric="requests", value="requests_per_s", problems=()):
    return [
        Run(metric=metric, contestant=contestant, round=number, values={value: one}, problems=problems)
        for number, one in enumerate(values, 1)
    ]


def line(page, beginning):
    return next(line for line in page.splitlines() if line.startswith(beginning))


def test_an_aim_is_judged_by_the_median_ratio_of_the_rounds():
    page = render(series(runs=runs("vllm-router", 100, 50, 200) + runs("podium", 150, 80, 280)))
    assert line(page, "| requests/s | at least 1 ").endswith(
        "| **1.50** (1.40 to 1.60) | met, and the one beyond; 3 rounds |"
    )


def test_a_missed_aim_is_said_and_a_spread_over_the_bound_too():
    page = render(series(runs=runs("vllm-router", 100, 100, 100) + runs("podium", 90, 95, 110)))
    verdict = line(page, "| requests/s | at least 1 ")
    assert verdict.endswith("| **0.95** (0.90 to 1.10) | **missed**; the spread reaches over the bound; 3 rounds |")


def test_an_aim_is_never_about_another_contestant():
    """What is measured of podium-bare says nothing of Podium."""
    page = render(series(runs=runs("vllm-router", 100, 100) + runs("podium-bare", 150, 150)))
    assert line(page, "| requests/s | at least 1 ").endswith("| not measured |")


def test_each_aim_has_its_own_contestant():
    measured = runs("vllm-router", 100, 100) + runs("podium-failover", 110, 120) + runs("podium-single", 110, 110)
    named = series(runs=measured)
    named.titles |= {"podium-failover": "Four", "podium-single": "One"}
    named.beside = {"podium-failover": "podium-single"}
    page = render(named)
    assert line(page, "| requests/s: Four | at least 1 ").endswith("| **1.15** (1.10 to 1.20) | met; 2 rounds |")
    assert line(page, "| requests/s: Four | at least 0.9 ").endswith("| **1.05** (1.00 to 1.09) | met; 2 rounds |")
    assert "| Four / vllm-router | Four / One |" in page


def test_a_contestant_with_fewer_rounds_is_named_below_the_table():
    page = render(series(runs=runs("nginx", *[100] * 7) + runs("podium", 90, 90, 90)))
    assert "In fewer rounds: Podium (3)." in page


def test_a_ratio_whose_spread_includes_one_is_marked_as_no_difference():
    page = render(series(runs=runs("nginx", 100, 100) + runs("podium", 99, 102)))
    assert "(0.99 to 1.02) ≈" in line(page, "| requests/s, req/s |")


def test_failures_mark_the_contestant_and_are_listed():
    measured = runs("vllm-router", 100) + runs("podium", 150, problems=("3 of 450 requests failed",))
    page = render(series(runs=measured))
    assert "Podium (!)" in page
    assert "| 3 of 450 requests failed |" in page
    assert line(page, "| requests/s | at least 1 ").endswith("; with failures |")


def test_one_lost_event_in_one_round_misses_the_aim():
    measured = runs("podium", 0, 0, 0, 1, metric="paced", value="lost_events")
    assert "**missed**" in line(render(series(runs=measured)), "| events lost of 5,000 paced streams |")


def test_what_was_not_measured_is_not_judged():
    page = render(series(runs=runs("nginx", 100)))
    assert line(page, "| exec to ready |").endswith("| not measured |")


def test_a_disturbed_measurement_is_counted():
    disturbed = Run(metric="start", contestant="podium", round=1, values={"ready_s": 1.0}, other_cores=0.5)
    page = render(series(runs=[disturbed, *runs("podium", 100)]))
    assert "1 of 2 measurements were disturbed" in page


def test_a_short_or_broken_off_run_says_so_at_the_top():
    few = series(runs=runs("podium", 100))
    few.rounds, few.ended, few.quick = 2, "", True
    head = render(few).partition("## Machine")[0]
    assert "quick run" in head
    assert "Only 2 rounds" in head
    assert "broken off" in head


def test_raw_data_comes_back_as_it_was_saved(tmp_path):
    before = series(runs=runs("podium", 1.5, problems=("x",)), calibration_ms=[{0: 1.0, 1: 2.0}])
    save_series(before, tmp_path / "one" / "series.json")
    assert load_series(tmp_path / "one" / "series.json") == before
