from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.ring import Ring, ring_hash
from podium.traffic.balancing.session_affinity import SessionAffinity

SESSIONS = [f"session {number}" for number in range(600)]
keys = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, max_size=8, unique=True)


def pool(keys, weight=1):
    return tuple(BackendLoad(key, weight=weight) for key in keys)


def homes(balancer, backends, excluded=()):
    chosen = {name: balancer.choose(backends, excluded, CallFacts(0, "t", name)) for name in SESSIONS}
    return {name: backends[choice.index].key for name, choice in chosen.items()}


def test_a_session_stays_whatever_the_load_is_and_says_so():
    balancer, backends = SessionAffinity(), pool("abcd")
    first = balancer.choose(backends, (), CallFacts(0, "t", "s"))
    assert first.why is Why.SESSION
    backends[first.index].in_flight = 500
    assert balancer.choose(backends, (), CallFacts(9, "t", "s", random=0.7)) == first


def test_every_gateway_sends_a_session_to_the_same_backend():
    assert homes(SessionAffinity(), pool("abcd")) == homes(SessionAffinity(), pool("dcba"))
    other = SessionAffinity()
    homes(other, pool("abc"))
    homes(other, pool("efgh"))
    assert homes(other, pool("abcd")) == homes(SessionAffinity(), pool("abcd"))


def test_where_a_session_belongs_does_not_change_with_a_release():
    ring = Ring({"a": 1, "b": 1, "c": 2})
    assert [next(ring.owners(ring_hash(f"t\0{name}"))) for name in SESSIONS[:12]] == [
        1,
        2,
        2,
        1,
        2,
        2,
        1,
        0,
        0,
        1,
        2,
        0,
    ]


def test_the_same_session_name_of_two_tenants_is_two_sessions():
    balancer, backends = SessionAffinity(), pool("abcdefgh")
    chosen = {balancer.choose(backends, (), CallFacts(0, f"t{number}", "s")).index for number in range(40)}
    assert len(chosen) > 3


@given(keys)
def test_a_new_backend_takes_its_share_and_moves_nothing_else(keys):
    *old, new = keys
    balancer = SessionAffinity()
    before, after = homes(balancer, pool(old)), homes(balancer, pool(keys))
    moved = {name for name in SESSIONS if before[name] != after[name]}
    assert {after[name] for name in moved} <= {new}
    assert moved == {name for name in SESSIONS if after[name] == new}
    assert len(moved) < 2 * len(SESSIONS) / len(keys)


@given(keys, st.booleans())
def test_a_backend_that_leaves_moves_only_its_own_sessions_and_has_them_back_later(keys, drained):
    gone, *left = keys
    balancer, backends = SessionAffinity(), pool(keys)
    before = homes(balancer, backends)
    if drained:
        backends[0].weight = 0
        during = homes(balancer, (*backends,))
        backends[0].weight = 1
    else:
        during = homes(balancer, backends[1:])
    assert all(during[name] == home for name, home in before.items() if home != gone)
    assert set(during.values()) <= set(left)
    assert homes(balancer, (*backends,)) == before


def test_an_excluded_backend_is_passed_over_and_only_for_this_call():
    balancer, backends = SessionAffinity(), pool("abcd")
    before = homes(balancer, backends)
    during = homes(balancer, backends, excluded=[1])
    assert {name for name in SESSIONS if before[name] != during[name]} == {n for n in SESSIONS if before[n] == "b"}
    assert len({during[name] for name in SESSIONS if before[name] == "b"}) == 3  # shared by all others
    moved = next(name for name in SESSIONS if before[name] == "b")
    assert balancer.choose(backends, [1], CallFacts(0, "t", moved)).why is Why.SESSION_MOVED
    assert homes(balancer, backends) == before


def test_sessions_are_shared_by_weight():
    backends = (*pool("abc", weight=10), *pool("de", weight=30))
    shares = Counter()
    balancer = SessionAffinity()
    for number in range(6000):
        shares[backends[balancer.choose(backends, (), CallFacts(0, "t", f"{number}")).index].key] += 1
    assert all(450 < shares[key] < 900 for key in "abc")
    assert all(1550 < shares[key] < 2450 for key in "de")


def test_a_changed_weight_moves_only_sessions_of_or_to_that_backend():
    balancer, backends = SessionAffinity(), pool("abcd", weight=100)
    before = homes(balancer, backends)
    backends[2].weight = 50
    after = homes(balancer, (*backends,))
    moved = {name for name in SESSIONS if before[name] != after[name]}
    assert moved and {before[name] for name in moved} == {"c"}


def test_without_a_session_the_less_busy_one_is_chosen():
    backends = pool("ab")
    backends[0].in_flight = 2
    assert SessionAffinity().choose(backends, (), CallFacts(0, "t")) == Choice(1, Why.FEWER_IN_FLIGHT)


def test_backends_that_are_gone_for_good_leave_the_ring():
    balancer = SessionAffinity()
    for number in range(200):
        homes_of = pool([f"{number}a", f"{number}b"])
        balancer.choose(homes_of, (), CallFacts(0, "t", "s"))
    assert len(balancer._ring.keys) <= 20


def test_a_ring_goes_once_around():
    ring = Ring({"a": 1, "b": 2})
    around = list(ring.owners(ring_hash("x")))
    assert Counter(around) == {0: 64, 1: 128}
    assert list(Ring({}).owners(5)) == []
