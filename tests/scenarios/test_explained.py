"""Operators are told which backends are out, and why."""

import asyncio

import httpx
import pytest

from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario


async def test_doctor_says_of_a_model_which_backends_are_out_and_why(providers):
    names = ("out-well", "out-broken", "out-limited", "out-drained", "out-ill")
    _, broken, limited, _, ill = await providers.start(*names)
    check = {"path": "/v1/models", "interval_s": 0.1, "timeout_s": 1, "unhealthy_after": 2}
    specs = {"out-ill": {"health_check": check}}
    await providers.apply(
        *(providers.provider(name, **specs.get(name, {})) for name in names),
        providers.provider("out-well", name="out-keyless", api_key={"env": "PODIUM_TEST_NOT_SET"}),
        *providers.model(
            "explained",
            dict.fromkeys(names, 1) | {"out-drained": 0, "out-keyless": 1},
            failure={"breaker": {"consecutive_failures": 1, "open_s": 600, "max_open_s": 600}},
        ),
        *providers.model("unserved", {"out-keyless": 1}),
    )
    ill.behave("server-error")  # seen by its check before any call is
    await eventually(lambda: "out-ill" in str(out(providers, "explained")), timeout_s=10, interval_s=0.05)
    broken.behave("resets-at-start")
    limited.behave("rate-limited,retry-after=600")
    async with providers.load("explained", 20) as load:
        await eventually(lambda: len(out(providers, "explained")) == 5, timeout_s=10, interval_s=0.05)
    assert load.served

    code, found = await doctor(providers, "explained")
    assert code == 0
    assert found == {
        "out-broken": "Its breaker is not closed. Open for # s more, because # calls in a row failed.",
        "out-limited": "The account out-limited rests. Left alone for # s more: the provider asked for it (Retry-After).",
        "out-drained": "Its weight is #: it takes nothing new.",
        "out-ill": "The provider out-ill fails its health checks. Unhealthy: the last # checks failed.",
        "out-keyless": found["out-keyless"],
    }
    assert found["out-keyless"].startswith("It cannot be called. ")
    assert "PODIUM_TEST_NOT_SET" in found["out-keyless"]
    code, found = await doctor(providers, "unserved")
    assert code == 1
    assert list(found) == ["out-keyless", "none of its backends takes calls"]


def out(providers, model):
    """What /readyz tells of the model's backends."""
    url = f"http://127.0.0.1:{providers.installation.port}/readyz"
    parts = httpx.get(url, trust_env=False).json()["parts"]
    return [part for part in parts if part["name"].startswith(f"backend {model} ")]


async def doctor(providers, model):
    """The exit code; and of each finding about the model what is told, by provider, with # for every number."""
    run = providers.installation.run
    done = await asyncio.to_thread(run, "doctor", "--model", model, "--json", check=False)
    found = {}
    for one in done.json()["findings"]:
        if one["check"] == "backends":
            subject, is_out, why = one["text"].removeprefix(f"{model}: ").partition(" is out. ")
            found[subject.partition("/")[0] if is_out else subject] = without_numbers(why)
    return done.code, found


def without_numbers(text):
    return " ".join("#" + word.lstrip("0123456789.") if word[0].isdigit() else word for word in text.split())
