from hypothesis import given
from hypothesis import strategies as st

from podium.core.budgets import Budget
from podium.economics.budgets.rules import BudgetTable, CompiledBudget, Payer

NOW = 1_760_000_000 * 10**9
ANN = Payer(tenant="acme", key="k1", user="ann", model="gpt-4o", tags=(("team", "blue"),))


def budget(**changes):
    return Budget(**({"unit": "usd", "amount": 5, "period": "month"} | changes))


def keys(payer=ANN, at=NOW, **changes):
    return [charge.key for charge in BudgetTable({"b": budget(**changes)}).charges(payer, at)]


def test_an_account_is_a_budget_a_subject_and_a_period():
    (charge,) = BudgetTable({"b": budget(per=("tenant", "user", "tag:team"))}).charges(ANN, NOW)

    assert charge.key == "b|acme|ann|blue|m1759276800"
    assert charge.subject == (("tenant", "acme"), ("user", "ann"), ("tag:team", "blue"))
    assert (charge.label, charge.rule.amount, charge.rule.soft) == ("2025-10", 5 * 10**9, ((0.8, 4 * 10**9),))
    assert charge.rule.whom == " for this tenant and user and tag 'team'"


def test_filters_choose_the_exchanges():
    assert keys(where={"model": ("gpt-*", "o1"), "tag:team": ("blue",)})
    assert not keys(where={"model": ("gpt-4",)})
    assert not keys(where={"model": ("gpt-*",), "user": ("bob",)})
    assert not keys(where={"tag:project": ("?*",)})
    assert not keys(where={"tag:project": ("*",)})
    assert not keys(where={"tag:project": ("x", "*")})
    assert keys(where={"tag:team": ("*",)})
    assert keys(where={"tag:team": ("x", "*l*e")})
    assert not keys(payer=ANN._replace(model="xgpt-4o"), where={"model": ("gpt-*",)})


def test_exchanges_without_a_value_share_an_account():
    nobody = [keys(payer=Payer(tenant=tenant), per=("user",)) for tenant in "ab"]

    assert nobody[0] == nobody[1] == ["b||m1759276800"]


def test_charges_stay_the_same_objects_until_a_period_ends():
    table = BudgetTable({"day": budget(period="day"), "hour": budget(period="rolling", rolling_s=3600)})
    first, same, next_minute, other = (
        table.charges(payer, NOW + later * 10**9)
        for payer, later in ((ANN, 0), (ANN, 1), (ANN, 60), (ANN._replace(tenant="b"), 60))
    )

    assert first is same
    assert first[0].key == next_minute[0].key != other[0].key
    assert first[1].key == next_minute[1].key
    assert (first[1].start_ns + 60 * 10**9, first[1].bucket_ns) == (next_minute[1].start_ns, 60 * 10**9)


def test_a_clock_that_steps_back_gets_the_earlier_period():
    table = BudgetTable({"b": budget(period="day")})
    today, tomorrow, again = (table.charges(ANN, NOW + later * 86_400 * 10**9)[0] for later in (0, 1, 0))

    assert today == again
    assert today.key != tomorrow.key


VALUES = st.text(alphabet="ab|#%\n\udcff漢", max_size=3) | st.text(min_size=60, max_size=90)


@given(first=st.tuples(VALUES, VALUES), second=st.tuples(VALUES, VALUES))
def test_keys_are_bounded_and_differ_for_different_subjects(first, second):
    compiled = CompiledBudget("b", budget(per=("tenant", "user")))
    one, other = compiled.charge_of(first, NOW).key, compiled.charge_of(second, NOW).key

    assert (one == other) == (first == second)
    assert len(one) <= 2 + 2 * (64 * 3 + 1) + 20
    assert one.count("|") == 3


def test_a_million_subjects_are_not_all_remembered():
    table = BudgetTable({"b": budget(per=("user",))})
    for n in range(40_000):
        table.charges(Payer(user=str(n)), NOW)

    assert len(table._remembered) <= 16_384
    assert len(table.budgets["b"]._charges) <= 16_384


@given(
    st.lists(st.text("ab*\n", min_size=1, max_size=6), min_size=1, max_size=3),
    st.text("ab\n*", max_size=8),
)
def test_stars_match_as_a_plain_reading_of_them_does(patterns, value):
    def covers(pattern, rest):
        if not pattern:
            return not rest
        if pattern[0] == "*":
            return any(covers(pattern[1:], rest[at:]) for at in range(len(rest) + 1))
        return bool(rest) and rest[0] == pattern[0] and covers(pattern[1:], rest[1:])

    expected = bool(value) and any(covers(pattern, value) for pattern in patterns)
    payer = Payer(user=value)
    assert CompiledBudget("b", budget(where={"user": tuple(patterns)})).matches(payer) == expected


def test_many_stars_take_no_time():
    compiled = CompiledBudget("b", budget(where={"user": ("*a" * 30 + "*b",)}))
    assert not compiled.matches(Payer(user="a" * 128))  # for minutes, if it backtracked
