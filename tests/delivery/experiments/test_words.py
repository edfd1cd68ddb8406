import pytest

from podium.core.experiments import ArmEnd
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.experiments.effects import Bounds, EffectRow
from podium.delivery.experiments.words import (
    bounds_text,
    concluded,
    dollars,
    effect_text,
    ended_text,
    failure_text,
    measure_text,
    value_text,
)


def row(**changes):
    fields = {
        "measure": "cost_nanousd",
        "arm": "short",
        "role": "primary",
        "scale": "relative",
        "reference": 2e6,
        "value": 1.75e6,
        "effect": -0.125,
        "fixed": Bounds(lower=-0.15, upper=-0.1),
        "sequential": Bounds(lower=-0.2, upper=-0.05),
        "alpha": 0.05,
        "samples": 300.0,
        "reference_samples": 300.0,
        "subjects": 200.0,
        "higher_is_better": False,
        "finding": "better",
    }
    return EffectRow(**(fields | changes))


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, ""),
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (-3.1, "-$3.10"),
        (0.00123456, "$0.00123"),
        (0.0000004, "$0.0000004"),
        (-0.002, "-$0.002"),
        (0.01, "$0.01"),
    ],
)
def test_dollars(usd, text):
    assert dollars(usd) == text


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        ("error_rate", 0.0125, "1.25%"),
        ("cost_nanousd", 1.75e6, "$0.00175"),
        ("ttft_ms", 812.4, "812 ms"),
        ("time_per_output_token_ms", 12.34, "12.3 ms"),
        ("output_tokens", 1234.0, "1,234"),
        ("judge_score", 0.51, "0.51"),
        ("judge_score", None, ""),
    ],
)
def test_values_have_their_unit(measure, value, text):
    assert value_text(measure, value) == text


@pytest.mark.parametrize(
    ("changes", "value", "text"),
    [
        ({}, -0.125, "-12.5%"),
        ({}, 1e-16, "0%"),
        ({"scale": "absolute", "measure": "error_rate"}, 0.0031, "+0.31 points"),
        ({"scale": "absolute", "measure": "judge_score"}, 0.02, "+0.02"),
        ({"scale": "absolute"}, 2e6, "+$0.002"),
        ({"scale": "absolute"}, -2e6, "-$0.002"),
        ({}, None, ""),
    ],
)
def test_effects_have_their_scale(changes, value, text):
    assert effect_text(row(**changes), value) == text


def test_bounds_may_be_open():
    assert bounds_text(row(), Bounds(lower=-0.15, upper=None)) == "-15% to no bound"
    assert bounds_text(row(), None) == ""


def test_bounds_say_their_unit_once():
    points = row(scale="absolute", measure="error_rate")
    assert bounds_text(points, Bounds(lower=-0.02, upper=0.03)) == "-2 to +3 points"
    assert bounds_text(points, Bounds(lower=-0.02, upper=None)) == "-2 points to no bound"
    assert bounds_text(row(), Bounds(lower=-1e-8, upper=1e-8)) == "0% to 0%"


def test_what_is_concluded_names_the_interval_that_counts():
    told = concluded(row(), "long", "sequential")
    assert told == (
        "short: cost of an answer (cost_nanousd) is $0.00175 against $0.002 of long, -12.5% (-20% to -5%,"
        " confidence 0.95). That is better."
    )
    assert "(-15% to -10%, confidence 0.95)" in concluded(row(), "long", "fixed")
    assert concluded(row(finding="no_difference_seen"), "long", "fixed").endswith("That may be chance.")
    assert concluded(row(finding="too_few", subjects=12.4), "long", "fixed").endswith(
        "Of so few subjects (12 in the smaller arm) nothing can be told."
    )
    assert concluded(row(finding="no_data"), "long", "fixed").startswith("short: nothing is known of cost")


def test_a_measure_without_words_keeps_its_name():
    assert measure_text("call_wait_ms") == "call_wait_ms"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {},
            "error_rate of arm `odd` is 40% against 10%, +30 points (+12.3 points to no bound), worse by more than 5 points",
        ),
        (
            {"name": "ttft_ms", "scale": "relative", "value": 900.0, "reference": 600.0, "effect": 0.5},
            "ttft_ms of arm `odd` is 900 ms against 600 ms, +50% (+12.3% to no bound), worse by more than 5%",
        ),
        (
            {"role": "limit", "margin": 0.0},
            "error_rate of arm `odd` is 40% against 10% at most, +30 points (+12.3 points to no bound)",
        ),
    ],
)
def test_by_what_an_arm_failed_is_told(changes, told):
    fields = {
        "name": "error_rate",
        "arm": "odd",
        "role": "guardrail",
        "decision": "worse",
        "scale": "absolute",
        "effect": 0.3,
        "lower": 0.123,
        "upper": None,
        "margin": 0.05,
        "higher_is_better": False,
        "reference": 0.1,
        "value": 0.4,
        "reference_samples": 300.0,
        "samples": 300.0,
        "subjects": 200.0,
        "alpha": 0.01,
    }
    assert failure_text(MetricResult(**(fields | changes))) == told


def test_when_an_arm_ended_is_told():
    end = ArmEnd(arm="odd", unix_s=1_760_000_000.0, reason="burst", detail="g1: dead")
    assert ended_text(end) == "Arm odd ended on 2025-10-09 at 08:53:20 UTC, gateways took it out: g1: dead."
