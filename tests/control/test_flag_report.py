import pytest

from podium.control.documents import parse_documents
from podium.control.flag_report import Flags
from podium.core.errors import NotFound
from podium.core.standings import FlagUse, Standings

HOUR, DAY = 3600.0, 86_400.0

FLAGS = """
{kind: Flag, name: steady, spec: {type: boolean, default: on, stale_after_days: 30, owner: shop}}
---
kind: Flag
name: beta
spec: {type: boolean, rules: [{when: [{attribute: user, in: [ann]}], variant: on}]}
---
kind: Flag
name: needs-beta
spec: {type: boolean, default: on, prerequisites: [{flag: beta, variant: on}]}
"""


class Gateways:
    def __init__(self):
        self.asked = []
        self.told = ()

    async def ask(self, query, presented):
        self.asked.append((query, presented))
        return self.told


def use(flag, variant, count, asker="ofrep", last=1.0):
    return FlagUse(flag=flag, variant=variant, asker=asker, count=count, last_unix_s=last)


@pytest.fixture
def gateways():
    return Gateways()


@pytest.fixture
def flags(resource_store, clock, gateways):
    return Flags(resource_store, clock, gateways=gateways)


@pytest.fixture
def now(clock):
    return lambda: clock.unix_ns() / 1e9


@pytest.fixture
async def declared(resources):
    await resources.apply(parse_documents(FLAGS), author="alice")


async def stale(flags):
    return {one.name: list(one.stale) for one in (await flags.report("pk_op")).flags}


async def test_each_flag_is_told_with_its_last_change_and_what_it_gave(
    flags, gateways, resources, declared, clock, now
):
    first = now()
    clock.advance(DAY)
    changed = FLAGS.replace("owner: shop", "owner: web")
    await resources.apply(parse_documents(changed), author="bob")
    await resources.apply(parse_documents("{kind: Tenant, name: acme}"), author="carol")
    gateways.told = (
        Standings(
            place="g-1",
            flags=(use("beta", "on", 3, last=50.0), use("beta", "off", 2, "ofrep_all", 99.0), use("gone", "on", 1)),
            flags_since_unix_s=10.0,
        ),
        Standings(place="g-2", flags=(use("beta", "off", 4, "gateway", 40.0),), flags_since_unix_s=20.0),
    )

    report = await flags.report("pk_op")

    beta, needs, steady = report.flags
    assert (beta.given, beta.asked_unix_s, beta.listed_unix_s) == ({"on": 3, "off": 6}, 50.0, 99.0)
    assert (beta.changed_unix_s, beta.changed_by, beta.needed_by) == (first, "alice", ("needs-beta",))
    assert (steady.changed_unix_s, steady.changed_by, steady.owner) == (first + DAY, "bob", "web")
    assert (beta.constant, needs.constant, steady.constant) == (None, None, "on")
    assert (report.gateways, report.silent, report.counted_since_unix_s) == (2, (), 20.0)
    ((query, presented),) = gateways.asked
    assert (query.flags, query.limits, query.budgets, presented) == (True, False, False, "pk_op")


async def test_a_flag_is_stale_when_it_is_old_or_makes_no_difference(flags, declared, clock):
    assert await stale(flags) == {"beta": [], "needs-beta": [], "steady": ["constant"]}
    clock.advance(31 * DAY)
    assert await stale(flags) == {"beta": [], "needs-beta": [], "steady": ["old", "constant"]}


async def test_what_nobody_asks_for_is_unused_once_all_gateways_have_counted_for_long_enough(
    flags, gateways, declared, clock, now
):
    def told(*uses, **more):
        return Standings(place="g-1", flags=uses, flags_since_unix_s=now() - DAY, **more)

    used = use("steady", "on", 1)
    clock.advance(HOUR / 2)
    gateways.told = (told(used),)
    assert await stale(flags) == {"beta": [], "needs-beta": [], "steady": ["constant"]}
    clock.advance(HOUR)
    gateways.told = (told(used),)
    assert await stale(flags) == {"beta": [], "needs-beta": ["unused"], "steady": ["constant"]}
    gateways.told = (told(used, use("needs-beta", "on", 9, "ofrep_all")),)
    assert (await stale(flags))["needs-beta"] == ["unused"]
    gateways.told = (told(used), Standings(place="g-2", error="http://g-2 cannot be asked"))
    assert (await stale(flags))["needs-beta"] == []
    gateways.told = (told(used), Standings(place="g-2", flags_since_unix_s=now() - 60))
    assert (await stale(flags))["needs-beta"] == []


async def test_a_flag_that_gave_one_variant_a_hundred_times_is_told(flags, gateways, declared, clock, now):
    clock.advance(2 * HOUR)

    async def after(*uses):
        gateways.told = (Standings(place="g-1", flags=uses, flags_since_unix_s=now() - 1.5 * HOUR),)
        return (await stale(flags))["beta"]

    assert await after(use("beta", "on", 99)) == []
    assert await after(use("beta", "on", 99), use("beta", "on", 1, "gateway")) == ["one_variant"]
    assert await after(use("beta", "on", 100), use("beta", "off", 1)) == []


async def test_without_gateways_the_declared_state_is_told(resource_store, clock, declared):
    report = await Flags(resource_store, clock, gateways=None).report("")

    assert (len(report.flags), report.gateways, report.counted_since_unix_s) == (3, 0, None)


async def test_a_gateway_of_an_older_version_is_named(flags, gateways, declared):
    gateways.told = (Standings(place="g-1"),)

    assert (await flags.report("")).silent == ("g-1 does not count flags",)


async def test_a_flag_can_be_tried(flags, declared):
    found = await flags.evaluate("beta", {"user": "ann"})
    assert (found.value, found.variant, found.reason, found.type) == (True, "on", "TARGETING_MATCH", "boolean")
    assert (await flags.evaluate("needs-beta", {})).prerequisite == "beta"
    with pytest.raises(NotFound, match="there is no flag `bet`"):
        await flags.evaluate("bet", {})
