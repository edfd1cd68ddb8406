"""What operators do with declared resources: plan, apply, get, history, undo, delete, export.

Every change is checked as a whole state, written as one revision with its author, and refused when
somebody else changed the same resources in between.
"""

from collections.abc import Callable, Sequence

import msgspec

from podium.control.authors import check_author
from podium.control.changes import applied, changes_between, inverse, state_of
from podium.control.documents import check_name
from podium.control.keys import is_live
from podium.control.ports import Change, KeyStore, ResourceStore, Revision
from podium.control.problems import InvalidDocuments, Problem, StateConflict, raise_problems
from podium.control.rollouts.guard import check_active, check_declared, check_undo, kept_progress, tidied
from podium.control.specs import State, same_values, values_of
from podium.control.turn import Tries, Turn
from podium.control.validation import check_change
from podium.core.clock import Clock
from podium.core.errors import Conflict, InvalidRequest, NotFound
from podium.core.resources import Kind, Resource

__all__ = ["Applied", "HistoryPage", "Plan", "Resources"]

_MAX_MESSAGE = 2000
_PAGE = 200
_MAX_SCANNED = 10_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply would do."""

    revision: int  # that it was made against
    changes: tuple[Change, ...]
    unchanged: int  # documents that declare what is there already


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply did."""

    plan: Plan
    revision: Revision | None  # None: nothing to change, or a dry run
    dry_run: bool = False


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Revisions, newest first."""

    revisions: tuple[Revision, ...]
    next_before: int | None  # where the next page goes on; None: this was the last


class Resources:
    """The use cases. `changed` is called after each commit. `turn`: of all in this process that change resources."""

    def __init__(
        self,
        store: ResourceStore,
        keys: KeyStore,
        clock: Clock,
        *,
        changed: Callable[[], None] = lambda: None,
        turn: Turn | None = None,
    ) -> None:
        self._turn = turn or Turn()
        self._store = store
        self._keys = keys
        self._clock = clock
        self._changed = changed

    async def plan(self, documents: Sequence[Resource], *, prune: bool = False) -> Plan:
        """What `apply` would change; raises what it would raise.

        `prune`: whatever is not among the documents is deleted.
        """
        number, before = await self._current()
        return await self._plan(documents, number, before, prune=prune)

    async def apply(
        self,
        documents: Sequence[Resource],
        *,
        author: str,
        message: str = "",
        expected_revision: int | None = None,
        prune: bool = False,
        dry_run: bool = False,
    ) -> Applied:
        """Make the declared state what the documents say, as one revision; nothing when they say what is there.

        Conflict: the newest revision is not `expected_revision`; or, without it, somebody changed the same
        resources at the same moment.
        """
        _check_words(author, message)
        first: Plan | None = None
        async with Tries(self._turn) as tries:
            while await tries.another():
                number, before = await self._current()
                _check_expected(number, expected_revision)
                plan = await self._plan(documents, number, before, prune=prune)
                if first is not None and not _same_changes(plan.changes, first.changes):
                    break
                if dry_run or not plan.changes:
                    return Applied(plan=plan, revision=None, dry_run=dry_run)
                first = plan
                revision = await self._try_commit(plan, author, message)
                if revision is not None:
                    return Applied(plan=plan, revision=revision)
        raise Conflict(
            "somebody else changed the same resources at the same moment",
            hint="look at the newest revisions, then apply again",
        )

    async def get(self, kind: Kind, name: str) -> Resource:
        """One resource; NotFound."""
        _, state = await self._current()
        return _find(state, kind, name)

    async def all(self, kind: Kind | None = None) -> tuple[int, tuple[Resource, ...]]:
        """The newest revision's number and the resources (of one kind), ordered by kind and name."""
        number, resources = await self._store.current()
        return number, tuple(resource for resource in resources if kind is None or resource.kind == kind)

    async def export(self) -> tuple[Resource, ...]:
        """Everything declared; applied to an empty house, it gives the same state. Rollouts have not begun there."""
        return tuple(resource for resource in (await self._store.current())[1] if resource.kind != "Progress")

    async def newest_revision(self) -> int:
        """The newest revision's number; 0 when nothing was ever declared."""
        return await self._store.newest_number()

    async def revision(self, number: int) -> Revision:
        """One revision; NotFound."""
        revision = await self._store.revision(number) if 0 < number < 1 << 63 else None
        if revision is None:
            raise NotFound(f"there is no revision {number}")
        return revision

    async def history(
        self, kind: Kind | None = None, name: str | None = None, *, before: int | None = None, limit: int = 50
    ) -> HistoryPage:
        """Revisions that touched a kind, or a resource; all of them without either."""
        found: list[Revision] = []
        scanned = 0
        while scanned < _MAX_SCANNED:
            page = await self._store.revisions(before=before, limit=_PAGE)
            for revision in page:
                before = revision.number
                if any(_matches(change, kind, name) for change in revision.changes):
                    found.append(revision)
                if len(found) == limit:
                    return HistoryPage(revisions=tuple(found), next_before=before if before > 1 else None)
            if len(page) < _PAGE:
                return HistoryPage(revisions=tuple(found), next_before=None)
            scanned += len(page)
        return HistoryPage(revisions=tuple(found), next_before=before)

    async def undo(self, number: int, *, author: str, message: str = "") -> Revision:
        """Take back what revision `number` changed, as a new revision.

        Conflict: a resource is no longer as that revision left it, or the state without it would be wrong.
        """
        _check_words(author, message)
        revision = await self.revision(number)
        raise_problems(tuple(check_undo(revision)))
        changes = inverse(revision.changes)
        async with Tries(self._turn) as tries:
            while await tries.another():
                newest, before = await self._current()
                _check_untouched(before, revision)
                after = tidied(before, _with_changes(before, changes))
                raise_problems(tuple(check_active(before, after)))
                await self._check(before, after)
                plan = Plan(revision=newest, changes=changes_between(before, after), unchanged=0)
                text = message or f"undo revision {number}"
                committed = await self._try_commit(plan, author, text, undoes=number)
                if committed is not None:
                    return committed
        raise Conflict("others change resources all the time; the undo found no moment", hint="try again")

    async def delete(
        self, kind: Kind, name: str, *, author: str, message: str = "", expected_revision: int | None = None
    ) -> Revision:
        """Remove one resource. NotFound; Conflict when something refers to it."""
        _check_words(author, message)
        async with Tries(self._turn) as tries:
            while await tries.another():
                number, before = await self._current()
                _check_expected(number, expected_revision)
                _find(before, kind, name)
                after = tidied(before, {key: resource for key, resource in before.items() if key != (kind, name)})
                raise_problems(tuple(check_declared(before, after)))
                await self._check(before, after)
                plan = Plan(revision=number, changes=changes_between(before, after), unchanged=0)
                revision = await self._try_commit(plan, author, message or f"delete {kind}/{name}")
                if revision is not None:
                    return revision
        raise Conflict("others change resources all the time; the delete found no moment", hint="try again")

    async def _current(self) -> tuple[int, State]:
        number, resources = await self._store.current()
        return number, state_of(resources)

    async def _plan(self, documents: Sequence[Resource], number: int, before: State, *, prune: bool) -> Plan:
        declared = _declared(documents, prune=prune)
        same = {key for key, resource in declared.items() if key in before and _same(before[key], resource)}
        after = {} if prune else dict(before)
        # What does not change keeps its identity: validation reports only what the change breaks.
        after |= {key: before[key] if key in same else resource for key, resource in declared.items()}
        if prune:
            after = kept_progress(before, after) | after
        after = tidied(before, after)
        raise_problems(tuple(check_declared(before, after)))
        await self._check(before, after)
        return Plan(revision=number, changes=changes_between(before, after), unchanged=len(same))

    async def _check(self, before: State, after: State) -> None:
        tenants: frozenset[str] = frozenset()
        if any(kind == "Tenant" for kind, _ in before.keys() - after.keys()):
            tenants = await self._tenants_with_keys()
        raise_problems(check_change(before, after, tenants_with_keys=tenants))

    async def _tenants_with_keys(self) -> frozenset[str]:
        now = self._clock.unix_ns() / 1e9
        found: set[str] = set()
        async for entries in self._keys.batches():
            found |= {entry.tenant for entry in entries if is_live(entry, now)}
        return frozenset(found)

    async def _try_commit(self, plan: Plan, author: str, message: str, *, undoes: int | None = None) -> Revision | None:
        """None when another revision came first."""
        try:
            revision = await self._store.commit(
                expected=plan.revision, author=author, message=message, changes=plan.changes, undoes=undoes
            )
        except Conflict:
            return None
        self._changed()
        return revision


def _check_words(author: str, message: str) -> None:
    check_author(author)
    if len(message) > _MAX_MESSAGE or "\0" in message:
        raise InvalidRequest(f"a message is at most {_MAX_MESSAGE} characters, none of them NUL", parameter="message")


def _check_expected(number: int, expected: int | None) -> None:
    if expected is not None and expected != number:
        raise Conflict(
            f"the newest revision is {number}, not {expected}",
            parameter="expected_revision",
            hint="somebody changed something since; look at it, then apply again",
        )


def _declared(documents: Sequence[Resource], *, prune: bool) -> State:
    if prune and not documents:
        raise InvalidRequest("without documents, prune would delete everything", parameter="prune")
    problems = [
        Problem(message=wrong, kind=document.kind, name=document.name, path="name")
        for document in documents
        if (wrong := check_name(document.name))
    ]
    declared = state_of(documents)
    problems += [
        Problem(message="is declared twice", kind=document.kind, name=document.name)
        for document in documents
        if declared[document.kind, document.name] is not document
    ]
    if problems:
        raise InvalidDocuments(problems)
    return declared


def _same(one: Resource, other: Resource) -> bool:
    return same_values(values_of(one.spec), values_of(other.spec))


def _same_changes(some: tuple[Change, ...], others: tuple[Change, ...]) -> bool:
    return same_values(msgspec.to_builtins(some), msgspec.to_builtins(others))


def _matches(change: Change, kind: Kind | None, name: str | None) -> bool:
    return (kind is None or change.kind == kind) and (name is None or change.name == name)


def _find(state: State, kind: Kind, name: str) -> Resource:
    resource = state.get((kind, name))
    if resource is None:
        raise NotFound(f"there is no {kind} `{name}`")
    return resource


def _check_untouched(state: State, revision: Revision) -> None:
    problems = []
    for change in revision.changes:
        resource = state.get((change.kind, change.name))
        if not same_values(None if resource is None else values_of(resource.spec), change.after):
            message = f"was changed after revision {revision.number}"
            problems.append(Problem(message=message, kind=change.kind, name=change.name, conflict=True))
    if problems:
        raise StateConflict(problems, hint="undo the later revisions first, or apply the state that you want")


def _with_changes(state: State, changes: tuple[Change, ...]) -> State:
    try:
        return applied(state, changes)
    except msgspec.ValidationError as error:
        raise Conflict(
            f"what the revision replaced is no longer a valid spec: {error}", hint="apply the state that you want"
        ) from None
