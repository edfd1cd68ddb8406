"""What the admin API answers, as the commands read it. `--json` prints these as they came."""

from typing import Literal

import msgspec

from podium.control.experiments.views import ExperimentView
from podium.control.feedback import FeedbackPage, FeedbackView
from podium.control.feedback_keeping import Erased
from podium.control.flag_report import FlagEvaluation, FlagReport, FlagState
from podium.control.ports import UsageRow
from podium.control.rollouts.views import EvidenceNote, RolloutView
from podium.control.standings import StandingsReport
from podium.control.usage import UsageReport
from podium.core.standings import BudgetStanding, LimitStanding, Standings
from podium.delivery.analysis.evidence import Bundle
from podium.delivery.experiments.plan import GuardPlan, Plan
from podium.delivery.experiments.report import ExperimentReport
from podium.web.admin.exchange_shapes import ExchangeList, ExchangeView
from podium.web.admin.shapes import ChangeView, Document, KeyView, RevisionView

__all__ = [
    "BudgetStanding",
    "Bundle",
    "ChangeView",
    "CreatedKey",
    "Document",
    "Erased",
    "EvidenceList",
    "EvidenceNote",
    "ExchangeList",
    "ExchangeView",
    "ExperimentList",
    "ExperimentReport",
    "ExperimentView",
    "FeedbackPage",
    "FeedbackView",
    "FlagEvaluation",
    "FlagReport",
    "FlagState",
    "GuardPlan",
    "KeyList",
    "KeyView",
    "LimitStanding",
    "Outcome",
    "Plan",
    "ResourceList",
    "RevisionList",
    "RevisionView",
    "RolloutList",
    "RolloutView",
    "Standings",
    "StandingsReport",
    "UsageReport",
    "UsageRow",
    "key_state",
]


class ResourceList(msgspec.Struct, frozen=True, kw_only=True):
    """Declared resources at a revision."""

    revision: int
    resources: tuple[Document, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply changed, or would change; `revision` None: nothing was written."""

    revision: int | None
    base_revision: int
    dry_run: bool
    unchanged: int
    changes: tuple[ChangeView, ...]


class RevisionList(msgspec.Struct, frozen=True, kw_only=True):
    """Revisions, newest first; `next_before` None: there are no older ones."""

    revisions: tuple[RevisionView, ...]
    next_before: int | None


class RolloutList(msgspec.Struct, frozen=True, kw_only=True):
    """Declared rollouts, by name."""

    rollouts: tuple[RolloutView, ...]


class EvidenceList(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence of a rollout's decisions, newest first."""

    evidence: tuple[EvidenceNote, ...]


class ExperimentList(msgspec.Struct, frozen=True, kw_only=True):
    """Declared experiments, by name."""

    experiments: tuple[ExperimentView, ...]


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """API keys, oldest first."""

    keys: tuple[KeyView, ...]


class CreatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key and, this once, its clear text."""

    api_key: str
    key: KeyView

    def __repr__(self) -> str:
        return f"CreatedKey(id={self.key.id!r})"


def key_state(key: KeyView) -> Literal["live", "revoked", "expired"]:
    """One word for a table."""
    if key.revoked_unix_s is not None:
        return "revoked"
    return "live" if key.live else "expired"
