"""Which version of a model serves an exchange."""

from enum import StrEnum

from podium.core.resources import Model

__all__ = ["Choice", "choose_version"]


class Choice(StrEnum):
    """Why this version."""

    DECLARED = "declared"  # the model's own version; rollouts and experiments add their words here


def choose_version(model: Model) -> tuple[str, Choice]:
    """The name of the version that serves this exchange, and why."""
    return model.version, Choice.DECLARED
