"""The design of an experiment as one digest: what was fixed at the start, and cannot be anything else afterwards."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from podium.core.experiments import Experiment
from podium.core.resources import Version
from podium.core.rollouts import Analysis, Arm, Rollout, Segment, Step
from podium.delivery.buckets import steps_of
from podium.delivery.digest import version_digest

__all__ = ["design_digest", "short"]

_SHORT = 12


class _Design(msgspec.Struct):
    """What decides who gets what, what is measured, and when it ends. Fields are only ever added, with a default."""

    model: str
    arms: tuple[Arm, ...]
    versions: list[tuple[str, str]]  # names and digests
    sticky_by: tuple[str, ...]
    steps: tuple[Step, ...]
    analysis: Analysis | None
    experiment: Experiment | None
    where: Segment | None = None
    flag: str | None = None


_encode = msgspec.json.Encoder(order="sorted").encode


def design_digest(rollout: Rollout, version: Callable[[str], Version | None]) -> str:
    """SHA-256 of hypothesis, measures, guardrails, arms, split, samples, method and stop rule, as 64 hex digits.

    `version`: declared ones by name. Versions count as what they answer with, not where they run.
    """
    names = sorted({arm.version for arm in rollout.arms})
    specs = {name: version(name) for name in names}
    design = _Design(
        model=rollout.model,
        arms=rollout.arms,
        versions=[(name, version_digest(spec) if spec is not None else "") for name, spec in specs.items()],
        sticky_by=rollout.sticky_by,
        steps=steps_of(rollout),
        analysis=rollout.analysis,
        experiment=rollout.experiment,
        where=rollout.where,
        flag=rollout.flag,
    )
    return hashlib.sha256(_encode(_plain(design))).hexdigest()


def _plain(value: Any) -> Any:
    """As JSON has it. What equals its default is left out, said or not; `100` and `100.0` percent are the same."""
    match value:
        case msgspec.Struct():
            fields = msgspec.structs.fields(value)
            told = ((field.name, getattr(value, field.name), field.default) for field in fields)
            return {name: _plain(item) for name, item, default in told if item != default}
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def short(digest: str) -> str:
    """As people are shown it."""
    return digest[:_SHORT]
