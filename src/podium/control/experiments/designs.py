"""Whether an experiment's design is the one that was frozen when it started."""

from podium.control.rollouts.standing import Standing
from podium.delivery.experiments.design import design_digest

__all__ = ["digest_of", "is_unchanged"]


def digest_of(standing: Standing) -> str:
    """Of the design as it is declared now."""
    return design_digest(standing.rollout, standing.version)


def is_unchanged(standing: Standing) -> bool:
    """Whether it is still the design that was frozen when it started."""
    return standing.progress is not None and standing.progress.design in ("", digest_of(standing))
