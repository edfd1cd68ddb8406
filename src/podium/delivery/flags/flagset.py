"""All flags of a snapshot, ready to be evaluated. What one evaluation costs does not depend on how many there are."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from podium.core.flags import MAX_PREREQUISITE_DEPTH, Flag, FlagType, Rule
from podium.delivery.flags.conditions import Holds, compile_conditions
from podium.delivery.flags.splits import compile_split, subject_text
from podium.delivery.flags.values import Context, ErrorCode, Evaluation, EvaluationReason, failure

__all__ = ["FlagSet", "missing"]

_Decided = dict[str, Evaluation | None]  # None: under way
_Give = Callable[[Context], Evaluation]


class FlagSet:
    """Evaluates flags; `evaluate` answers for any name and any context, and never raises."""

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        self._flags = flags
        self._compiled: dict[str, _Compiled] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._flags

    def __len__(self) -> int:
        return len(self._flags)

    def __iter__(self) -> Iterator[str]:
        return iter(self._flags)

    def flag(self, name: str) -> Flag | None:
        """What is declared under a name."""
        return self._flags.get(name)

    def evaluate(self, name: str, context: Context, wanted: FlagType | None = None) -> Evaluation:
        """What a flag gives in a context. `wanted`: TYPE_MISMATCH when it is of another type."""
        compiled = self._compiled.get(name) or self._compile(name)
        if compiled is None:
            return missing(name)
        if wanted is not None and compiled.type != wanted:
            return failure(ErrorCode.TYPE_MISMATCH, f"The flag {name!r} is of type {compiled.type}, not {wanted}.")
        if compiled.prerequisites:
            return self._with_prerequisites(name, compiled, context, {}, MAX_PREREQUISITE_DEPTH)
        return compiled.give(context)

    def evaluate_all(self, names: Iterable[str], context: Context) -> Iterator[tuple[str, Evaluation]]:
        """The same for many flags; what several depend on is evaluated once."""
        decided: _Decided = {}
        for name in names:
            yield name, self._decide(name, context, decided, MAX_PREREQUISITE_DEPTH)

    def is_on(self, name: str, context: Context) -> bool:
        """Whether a boolean flag gives true; not when there is none, or it cannot be evaluated."""
        return self.evaluate(name, context, "boolean").value is True

    def _decide(self, name: str, context: Context, decided: _Decided, depth: int) -> Evaluation:
        if name in decided:
            return decided[name] or failure(ErrorCode.GENERAL, f"The flag {name!r} depends on itself.")
        compiled = self._compiled.get(name) or self._compile(name)
        if compiled is None:
            return missing(name)
        if not compiled.prerequisites:
            found = compiled.give(context)
        elif depth < 0:
            return failure(ErrorCode.GENERAL, f"The flag {name!r} is too far down a chain of prerequisites.")
        else:
            found = self._with_prerequisites(name, compiled, context, decided, depth)
        decided[name] = found
        return found

    def _with_prerequisites(
        self, name: str, compiled: "_Compiled", context: Context, decided: _Decided, depth: int
    ) -> Evaluation:
        decided[name] = None
        for other, wanted, missed in compiled.prerequisites:
            found = self._decide(other, context, decided, depth - 1)
            if found.error is ErrorCode.TARGETING_KEY_MISSING:
                return found
            if found.error is not None:
                return failure(ErrorCode.GENERAL, f"The prerequisite {other!r} cannot be evaluated: {found.detail}")
            if found.variant != wanted:
                return missed
        return compiled.give(context)

    def _compile(self, name: str) -> "_Compiled | None":
        flag = self._flags.get(name)
        if flag is None:
            return None
        compiled = self._compiled[name] = _Compiled(name, flag)
        return compiled


class _Compiled:
    """One flag."""

    __slots__ = ("give", "prerequisites", "type")

    def __init__(self, name: str, flag: Flag) -> None:
        self.type = flag.type
        values = flag.values
        # The flag that is needed, the variant of it, and what is given without.
        self.prerequisites: tuple[tuple[str, str, Evaluation], ...] = ()
        if not flag.enabled:
            off = _given(EvaluationReason.DISABLED, flag.off, values)
            self.give: _Give = lambda _: off
            return
        self.prerequisites = tuple(
            (one.flag, one.variant, _given(EvaluationReason.DISABLED, flag.off, values, prerequisite=one.flag))
            for one in flag.prerequisites
        )
        rules = tuple(_rule(name, flag, rule) for rule in flag.rules)
        reason = EvaluationReason.DEFAULT if rules or self.prerequisites else EvaluationReason.STATIC
        default = _given(reason, flag.default, values)

        def give(context: Context) -> Evaluation:
            for holds, result in rules:
                if holds is None or holds(context):
                    return result(context)
            return default

        self.give = give if rules else lambda _: default


def missing(name: str) -> Evaluation:
    """The evaluation of a flag that is not there."""
    return failure(ErrorCode.FLAG_NOT_FOUND, f"There is no flag {name[:128]!r}.")


def _rule(name: str, flag: Flag, rule: Rule) -> tuple[Holds | None, _Give]:
    holds = compile_conditions(rule.when)
    values = flag.values
    if rule.variant is not None:
        match = _given(EvaluationReason.TARGETING_MATCH, rule.variant, values, rule=rule.name)
        return holds, lambda _: match
    deals = {one: _given(EvaluationReason.SPLIT, one, values, rule=rule.name) for one in rule.split}
    choose, by = compile_split(flag.salt or name, rule.split), rule.by
    missing = failure(ErrorCode.TARGETING_KEY_MISSING, f"The flag {name!r} is split by `{by}`, and there is none.")

    def deal(context: Context) -> Evaluation:
        subject = subject_text(context.get(by))
        return deals[choose(subject)] if subject else missing

    return holds, deal


def _given(
    reason: EvaluationReason, variant: str, values: Mapping[str, Any], *, rule: str = "", prerequisite: str = ""
) -> Evaluation:
    return Evaluation(reason=reason, variant=variant, value=values[variant], rule=rule, prerequisite=prerequisite)
