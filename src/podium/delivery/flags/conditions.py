"""Conditions of rules as functions of the evaluation context. They never raise, whatever a context holds."""

from collections.abc import Callable, Iterable, Sequence

from podium.core.flags import Condition, Scalar
from podium.core.globs import one_of
from podium.delivery.flags.semver import parse_version
from podium.delivery.flags.values import Context

__all__ = ["Holds", "compile_condition", "compile_conditions"]

Holds = Callable[[Context], bool]
_Passes = Callable[[object], bool]


def compile_conditions(conditions: Sequence[Condition]) -> Holds | None:
    """Whether a context meets all of them; None: there are none."""
    compiled = tuple(map(compile_condition, conditions))
    if len(compiled) < 2:  # noqa: PLR2004 - nearly always, and quicker
        return compiled[0] if compiled else None

    def hold(context: Context) -> bool:
        return all(holds(context) for holds in compiled)

    return hold


def compile_condition(condition: Condition) -> Holds:
    """Whether a context meets the condition. Of a list, one and the same element has to pass every test."""
    name, unwanted = condition.attribute, None
    if condition.present is False:
        return lambda context: context.get(name) is None
    if condition.not_in is not None:
        unwanted = _any_of(_one_of(condition.not_in))
    tests = tuple(_tests(condition))

    def holds(context: Context) -> bool:
        value = context.get(name)
        if unwanted is not None and unwanted(value):
            return False
        return not tests or passes(value)

    def every(value: object) -> bool:
        return all(test(value) for test in tests)

    passes = _any_of(tests[0] if len(tests) == 1 else every)
    return holds


def _any_of(test: _Passes) -> _Passes:
    def passes(value: object) -> bool:
        if isinstance(value, list | tuple):
            return any(test(element) for element in value)
        return test(value)

    return passes


def _tests(condition: Condition) -> Iterable[_Passes]:
    if condition.in_ is not None:
        yield _one_of(condition.in_)
    if condition.matches is not None:
        yield _like(condition.matches)
    if condition.starts_with is not None:
        starts = condition.starts_with
        yield lambda value: isinstance(value, str) and value.startswith(starts)
    if condition.at_least is not None or condition.below is not None:
        yield _between(condition.at_least, condition.below)
    if condition.semver_at_least is not None or condition.semver_below is not None:
        yield _between_versions(condition.semver_at_least, condition.semver_below)
    if condition.present:
        yield lambda value: value is not None


def _one_of(wanted: Iterable[Scalar]) -> _Passes:
    """`1` and `1.0` are one value, `true` and `"1"` are others."""
    texts = frozenset(value for value in wanted if isinstance(value, str))
    truths = frozenset(value for value in wanted if isinstance(value, bool))
    numbers = frozenset(value for value in wanted if isinstance(value, int | float) and not isinstance(value, bool))

    def passes(value: object) -> bool:
        if isinstance(value, str):
            return value in texts
        if isinstance(value, bool):
            return value in truths
        return isinstance(value, int | float) and value in numbers

    return passes


def _like(patterns: Sequence[str]) -> _Passes:
    covers = one_of(patterns)
    return lambda value: isinstance(value, str) and covers(value)


def _between(least: float | None, below: float | None) -> _Passes:
    def passes(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (least is None or value >= least) and (below is None or value < below)

    return passes


def _between_versions(least: str | None, below: str | None) -> _Passes:
    first = parse_version(least) if least is not None else None
    end = parse_version(below) if below is not None else None

    def passes(value: object) -> bool:
        version = parse_version(value) if isinstance(value, str) else None
        return version is not None and (first is None or version >= first) and (end is None or version < end)

    return passes
