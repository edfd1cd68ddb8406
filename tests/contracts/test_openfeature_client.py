"""The official OpenFeature client with its remote provider reads flags from a real Podium."""

import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from podium.testing.processes import Installation
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

EXAMPLE = Path(__file__).parents[2] / "examples" / "flags.yaml"
PAGE = Path(__file__).parents[2] / "docs" / "flags.md"
FLAGS = """
kind: Flag
name: announcement
spec: {type: string, variants: {off: "", hello: Hello!}, default: hello}
---
kind: Flag
name: page-size
spec: {type: number, variants: {off: 10, large: 50}, rules: [{when: [{attribute: tenant, in: [default]}], variant: large}]}
---
kind: Flag
name: temperature
spec: {type: number, variants: {off: 0.5, warm: 1.0}, default: warm}
---
kind: Flag
name: layout
spec: {type: json, variants: {off: {}, two: {columns: [1, 2], dark: true}}, default: two, off: two, enabled: false}
---
kind: Flag
name: beta
spec: {type: boolean, rules: [{when: [{attribute: version, semver_at_least: "2.0"}], split: {on: 50, off: 50}}]}
---
{kind: Flag, name: forgotten, spec: {type: boolean, default: on}}
"""


@contextmanager
def client_of(url, key):
    """OpenFeature's client, bound to a provider of its own."""
    provider = OFREPProvider(url, headers_factory=lambda: {"Authorization": f"Bearer {key}"})
    api.set_provider(provider, "podium-test")
    try:
        yield api.get_client("podium-test")
    finally:
        api.clear_providers()
        provider.session.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def podium(tmp_path_factory):
    """Control and gateway, each a process, with flags declared; one for all tests of this file."""
    installed = Installation(tmp_path_factory.mktemp("podium_flags"))
    installed.extra_environment["PODIUM_CONTROL_GATEWAYS"] = f"http://127.0.0.1:{installed.port}"

    def admin_answers():
        key = installed.data / "admin.key"
        return key.exists() and installed.status("/healthz", port=installed.admin_port)

    with installed.start("control") as control:
        installed.wait_for(admin_answers, control, timeout_s=40)
        apply(installed, FLAGS)
        with installed.start("gateway") as gateway:
            installed.wait_ready(gateway, timeout_s=40)
            yield installed


def apply(installed, text):
    file = installed.folder / "flags.yaml"
    file.write_text(text)
    installed.run("apply", "-f", str(file))


async def test_the_official_client_reads_flags_of_every_type_and_sees_changes_within_two_seconds(podium):
    url = f"http://127.0.0.1:{podium.port}"
    _, key = podium.new_key("app", "--endpoint", "flags")
    with client_of(url, key) as client:

        def told(flag, wanted):
            return client.get_string_value(flag, "-") == wanted

        def read(kind, flag, default, context=None):
            return getattr(client, f"get_{kind}_details")(flag, default, context)

        await eventually(lambda: client.get_string_details("announcement", "-").error_code is None, timeout_s=2)

        text = read("string", "announcement", "-")
        assert (text.value, text.variant, text.reason) == ("Hello!", "hello", Reason.STATIC)
        whole = read("integer", "page-size", 0)
        assert (whole.value, whole.reason) == (50, Reason.TARGETING_MATCH)
        assert read("float", "temperature", 0.0).value == 1.0
        shape = read("object", "layout", {})
        assert (shape.value, shape.reason) == ({"columns": [1, 2], "dark": True}, Reason.DISABLED)

        people = [EvaluationContext(f"user-{number}", {"version": "2.1.0"}) for number in range(40)]
        answers = [read("boolean", "beta", False, person) for person in people]
        assert {one.value for one in answers} == {True, False}
        assert {one.reason for one in answers} == {Reason.SPLIT}
        again = [read("boolean", "beta", False, person) for person in people]
        assert [one.value for one in again] == [one.value for one in answers]
        assert read("boolean", "beta", True, EvaluationContext("x", {"version": "1.9"})).value is False

        gone = read("boolean", "no-such-flag", True)
        assert (gone.value, gone.reason, gone.error_code) == (True, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
        wrong = read("boolean", "announcement", True)
        assert (wrong.value, wrong.error_code) == (True, ErrorCode.TYPE_MISMATCH)
        unnamed = read("boolean", "beta", True, EvaluationContext(None, {"version": "2.1.0"}))
        assert unnamed.error_code is ErrorCode.TARGETING_KEY_MISSING

        for text, wanted in ((FLAGS.replace("Hello!", "Bye!"), "Bye!"), (FLAGS, "Hello!")):
            apply(podium, text)
            changed = partial(told, "announcement", wanted)
            await eventually(changed, timeout_s=2)

    with client_of(url, "pk_wrong") as stranger:
        refused = stranger.get_boolean_details("beta", True)
        assert (refused.value, refused.error_code) == (True, ErrorCode.GENERAL)

    report = podium.run("flags", "stale", "--json").json()
    assert report["gateways"] == 1
    assert {one["name"]: one["stale"] for one in report["flags"]}["forgotten"] == ["constant"]
    told = podium.run("flags", "show", "page-size", "--json").json()
    assert told["given"]["large"] >= 1
    assert told["asked_unix_s"] > report["counted_since_unix_s"]


async def test_the_example_gives_what_its_comments_say(podium):
    apply(podium, EXAMPLE.read_text())
    url = f"http://127.0.0.1:{podium.port}"
    with client_of(url, podium.admin_key) as client:

        def value(kind, flag, default, *context):
            return getattr(client, f"get_{kind}_value")(flag, default, EvaluationContext(*context))

        def applied():
            return client.get_object_details("search-limits", {}).error_code is None

        await eventually(applied, timeout_s=2)
        assert value("boolean", "checkout-with-vouchers", False, "ann", {"user": "ann@acme.com"}) is True
        people = [value("boolean", "new-checkout", False, f"user-{number}") for number in range(100)]
        vouchers = [value("boolean", "checkout-with-vouchers", False, f"user-{number}") for number in range(100)]
        assert people == vouchers
        assert 10 < sum(people) < 40
        greetings = {value("string", "greeting", "-", "", {"language": "en-GB", "device": f"d-{n}"}) for n in range(20)}
        assert greetings == {"Hello", "Welcome back!"}
        assert value("object", "search-limits", {}, "") == {"results": 10, "timeout_s": 2.5}
    tried = podium.run("flags", "evaluate", "new-checkout", "--context", "user=ann@acme.com")
    assert tried.out.startswith("true\n")


async def test_the_program_of_the_documentation_runs(podium):
    apply(podium, EXAMPLE.read_text())
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for placeholder, own in (
        ("pk_...", podium.admin_key),
        ("http://127.0.0.1:8080", f"http://127.0.0.1:{podium.port}"),
    ):
        assert placeholder in program
        program = program.replace(placeholder, own)
    names = {}
    try:
        exec(compile(program, PAGE.name, "exec"), names)
        client, ann = names["client"], names["ann"]
        await eventually(lambda: client.get_boolean_value("new-checkout", False, ann), timeout_s=2)
        client.provider.session.close()
    finally:
        api.clear_providers()
