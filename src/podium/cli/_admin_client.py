"""The admin API as the commands call it: typed answers, one sentence for each failure."""

import getpass
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from podium.cli import _admin_answers as answers
from podium.cli._http import open_client, refusal, translated
from podium.control.documents import yaml_text
from podium.control.experiments.views import PlanRequest
from podium.control.keys import Labels, NewKey
from podium.core.errors import OperatorError
from podium.core.resources import Kind, Resource

if TYPE_CHECKING:
    from types import TracebackType

    from podium.cli._options import ToControl

__all__ = ["AdminClient", "Labels", "NewKey"]

T = TypeVar("T")
Span = tuple[float | None, float | None]  # since and until, seconds since 1970
_PREFIX = "/admin/v1"


class AdminClient:
    """Calls to one control process. A context manager: leaving it closes the connection."""

    def __init__(self, control: "ToControl") -> None:
        self._peer = control.peer()
        self._client = open_client(self._peer, control.key_for(self._peer.url))
        self._client.headers["x-podium-author"] = _author()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self._client.close()

    def resources(self, kind: Kind | None) -> answers.ResourceList:
        """Everything declared, or what is declared of one kind."""
        return self._call("GET", f"/resources/{kind}" if kind else "/resources", answers.ResourceList)

    def resource(self, kind: Kind, name: str) -> answers.Document:
        """One declared resource."""
        return self._call("GET", _resource(kind, name), answers.Document)

    def apply(
        self, documents: Iterable[Resource], *, message: str, expected_revision: int | None, prune: bool, dry_run: bool
    ) -> answers.Outcome:
        """Make the documents true."""
        query = {"message": message, "expected_revision": expected_revision, "prune": prune, "dry_run": dry_run}
        return self._call("POST", "/apply", answers.Outcome, yaml=yaml_text(documents), query=query)

    def diff(self, documents: Iterable[Resource], *, prune: bool) -> answers.Outcome:
        """What an apply would change."""
        return self._call("POST", "/diff", answers.Outcome, yaml=yaml_text(documents), query={"prune": prune})

    def delete(self, kind: Kind, name: str, *, message: str) -> answers.RevisionView:
        """Delete one resource."""
        return self._call("DELETE", _resource(kind, name), answers.RevisionView, query={"message": message})

    def export(self) -> tuple[answers.Document, ...]:
        """Everything declared, as documents."""
        return self._call("GET", "/export", tuple[answers.Document, ...], query={"format": "json"})

    def revisions(self, kind: Kind | None, name: str | None, *, before: int | None, limit: int) -> answers.RevisionList:
        """Revisions, newest first."""
        query = {"kind": kind, "name": name, "before": before, "limit": limit}
        return self._call("GET", "/revisions", answers.RevisionList, query=query)

    def undo(self, number: int, *, message: str) -> answers.RevisionView:
        """Take a revision back."""
        return self._call("POST", f"/revisions/{number}/undo", answers.RevisionView, query={"message": message})

    def rollouts(self) -> answers.RolloutList:
        """All rollouts."""
        return self._call("GET", "/rollouts", answers.RolloutList)

    def rollout(self, name: str) -> answers.RolloutView:
        """One rollout."""
        return self._call("GET", _rollout(name), answers.RolloutView)

    def rollout_evidence(self, name: str, *, limit: int) -> answers.EvidenceList:
        """What was kept of a rollout's decisions."""
        return self._call("GET", f"{_rollout(name)}/evidence", answers.EvidenceList, query={"limit": limit})

    def evidence(self, name: str, key: str) -> answers.Bundle:
        """What one decision was made on."""
        return self._call("GET", f"{_rollout(name)}/evidence/{quote(key, safe='')}", answers.Bundle)

    def move_rollout(self, name: str, command: str, query: dict[str, Any]) -> answers.RolloutView:
        """`start`, `pause`, ...: where the rollout stands then."""
        return self._call("POST", f"{_rollout(name)}/{command}", answers.RolloutView, query=query)

    def experiments(self) -> answers.ExperimentList:
        """All experiments."""
        return self._call("GET", "/experiments", answers.ExperimentList)

    def plan_experiment(self, asked: PlanRequest) -> answers.Plan:
        """What an experiment takes."""
        return self._call("POST", "/experiments/plan", answers.Plan, json=asked)

    def experiment_report(self, name: str) -> answers.ExperimentReport:
        """What an experiment has shown."""
        return self._call("GET", f"{_experiment(name)}/report", answers.ExperimentReport)

    def move_experiment(self, name: str, command: str, query: dict[str, Any]) -> answers.RolloutView:
        """`start`, `stop`: where its rollout stands then."""
        return self._call("POST", f"{_experiment(name)}/{command}", answers.RolloutView, query=query)

    def create_key(self, new: NewKey) -> answers.CreatedKey:
        """Create a key."""
        return self._call("POST", "/keys", answers.CreatedKey, json=new)

    def keys(self, *, tenant: str | None, live: bool) -> answers.KeyList:
        """All keys, or some."""
        return self._call("GET", "/keys", answers.KeyList, query={"tenant": tenant, "live": live})

    def rotate_key(self, key_id: str, *, grace_s: float) -> answers.CreatedKey:
        """Give a key a new secret."""
        return self._call("POST", f"{_key(key_id)}/rotate", answers.CreatedKey, json={"grace_s": grace_s})

    def label_key(self, key_id: str, labels: Labels) -> answers.KeyView:
        """Change a key's tier and tags."""
        return self._call("POST", f"{_key(key_id)}/label", answers.KeyView, json=labels)

    def revoke_key(self, key_id: str) -> answers.KeyView:
        """End a key."""
        return self._call("POST", f"{_key(key_id)}/revoke", answers.KeyView)

    def key_usage(self, key_id: str, by: tuple[str, ...], span: Span) -> answers.UsageReport:
        """What a key used."""
        return self._call("GET", f"{_key(key_id)}/usage", answers.UsageReport, query=_usage_query(by, span))

    def usage(self, by: tuple[str, ...], span: Span, **only: str | None) -> answers.UsageReport:
        """What was used; `only`: of this tenant, key, model."""
        return self._call("GET", "/usage", answers.UsageReport, query=_usage_query(by, span) | only)

    def exchanges(self, request_id: str, *, tenant: str | None, before: str | None, limit: int) -> answers.ExchangeList:
        """Exchanges with a request id, newest first."""
        query = {"tenant": tenant, "before": before, "limit": limit}
        return self._call("GET", f"/exchanges/{quote(request_id, safe='/:@')}", answers.ExchangeList, query=query)

    def feedback(self, *, limit: int, **only: str | None) -> answers.FeedbackPage:
        """What users said, newest first; `only`: of this tenant, rollout, kind, and `before` an id."""
        return self._call("GET", "/feedback", answers.FeedbackPage, query={**only, "limit": limit})

    def erase_feedback(self, **whose: str | None) -> answers.Erased:
        """Erase what was said in words; `whose`: of this tenant, and of this request_id or user."""
        return self._call("POST", "/feedback/erase", answers.Erased, json=whose)

    def limits(self, **subject: str | None) -> answers.StandingsReport:
        """How limits stand; `subject`: of this key, tenant, user, model, ip."""
        return self._call("GET", "/limits", answers.StandingsReport, query=dict(subject))

    def budgets(self, *, limit: int, **subject: str | None) -> answers.StandingsReport:
        """How budgets stand; `subject`: of this budget, key, tenant, user, model, tags."""
        return self._call("GET", "/budgets", answers.StandingsReport, query={**subject, "limit": limit})

    def flags(self) -> answers.FlagReport:
        """All flags, and how they are used."""
        return self._call("GET", "/flags", answers.FlagReport)

    def evaluate_flag(self, name: str, context: dict[str, object]) -> answers.FlagEvaluation:
        """What a flag gives in a context."""
        return self._call("POST", "/flags/evaluate", answers.FlagEvaluation, json={"flag": name, "context": context})

    def _call(
        self,
        method: str,
        path: str,
        form: type[T],
        *,
        json: object = None,
        yaml: str | None = None,
        query: dict[str, Any] | None = None,
    ) -> T:
        """The typed answer; OperatorError when there is none, or it is an error. A query value of None is left out."""
        import httpx  # noqa: PLC0415 - takes time, and most commands need none

        content, headers = _content(json, yaml)
        parameters = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        try:
            response = self._client.request(method, _PREFIX + path, params=parameters, content=content, headers=headers)
        except httpx.TransportError as error:
            raise translated(error, self._peer) from None
        if not response.is_success:
            raise refusal(response.status_code, response.content, self._peer)
        try:
            return msgspec.json.decode(response.content, type=form)
        except msgspec.MsgspecError as error:
            raise OperatorError(
                f"{self._peer.url} answers, but not as this version of Podium expects: {error}",
                hint="Is the address right, and are command and control process of one version?",
            ) from None


def _resource(kind: Kind, name: str) -> str:
    return f"/resources/{kind}/{quote(name, safe='/:@')}"


def _rollout(name: str) -> str:
    return f"/rollouts/{quote(name, safe=':@')}"


def _experiment(name: str) -> str:
    return f"/experiments/{quote(name, safe=':@')}"


def _key(key_id: str) -> str:
    return f"/keys/{quote(key_id, safe='')}"


def _usage_query(by: tuple[str, ...], span: Span) -> dict[str, Any]:
    return {"by": ",".join(by), "since_unix_s": span[0], "until_unix_s": span[1]}


def _content(json: object, yaml: str | None) -> tuple[bytes | None, dict[str, str]]:
    if yaml is not None:
        return yaml.encode(), {"content-type": "application/yaml"}
    if json is not None:
        return msgspec.json.encode(json), {"content-type": "application/json"}
    return None, {}


def _author() -> str:
    """Who calls, beside the key: the user of this machine; "" when it has no name that a header can carry."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    return name if name.isascii() and name.isprintable() else ""
