"""Where a rollout stands, as it was read, and the one way to write where it goes: a revision under condition.

Everything that a step changes is in that one revision: the rollout's `Progress`, and with a promotion the `Model`. What
dies before it has changed nothing, what dies after it is done; nobody has to tidy up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from podium.control.changes import changes_between, state_of
from podium.control.ports import ResourceStore, Revision
from podium.control.problems import raise_problems
from podium.control.rollouts.guard import check_active
from podium.control.specs import State
from podium.control.turn import Turn
from podium.control.validation import check_change
from podium.core.errors import Conflict, NotFound
from podium.core.resources import Model, Progress, Resource, Rollout, Version

__all__ = ["LOOP_AUTHOR", "Move", "Standing", "Standings"]

LOOP_AUTHOR = "podium/rollouts"  # who a revision is by that no operator asked for

_MAX_MESSAGE = 2000
_MIN_APART_S = 1e-3  # of two times of change, so that each is another one, and JSON's digits tell them apart


@dataclass(frozen=True, slots=True)
class Standing:
    """One rollout at a revision. `progress` None: it was never started."""

    revision: int
    name: str
    rollout: Rollout
    progress: Progress | None
    state: State

    @property
    def model(self) -> Model:
        """The model that it is about. NotFound: it was deleted since, which validation does not let happen."""
        resource = self.state.get(("Model", self.rollout.model))
        if resource is None or not isinstance(resource.spec, Model):
            raise NotFound(f"there is no Model `{self.rollout.model}`")
        return resource.spec

    @property
    def seen(self) -> float:
        """What tells this standing from the others of the rollout: when it was written; 0.0: never started."""
        return 0.0 if self.progress is None else self.progress.changed_unix_s

    def version(self, name: str) -> Version | None:
        """A declared version."""
        resource = self.state.get(("Version", name))
        return resource.spec if resource is not None and isinstance(resource.spec, Version) else None

    def after(self, now_unix_s: float) -> float:
        """The time of a change that is made now: later than any before, whatever the clock says."""
        return max(now_unix_s, self.seen + _MIN_APART_S)


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a rollout. `puts`: what changes with it, in the same revision."""

    progress: Progress
    message: str
    puts: tuple[Resource, ...] = ()


class Standings:
    """Reads and writes them. `changed` is called after each commit.

    `turn`: of all in this process that change resources; who reads, decides and writes takes it for that.
    """

    def __init__(
        self, store: ResourceStore, *, changed: Callable[[], None] = lambda: None, turn: Turn | None = None
    ) -> None:
        self.turn = turn or Turn()
        self._store = store
        self._changed = changed
        self._known: dict[str, Standing] = {}
        self._known_revision = -1

    async def all(self) -> tuple[Standing, ...]:
        """Every declared rollout, by name; everything is read only when something was changed."""
        if self._known_revision != await self._store.newest_number():
            number, resources = await self._store.current()
            self._know(number, state_of(resources))
        return tuple(self._known.values())

    def known(self, name: str) -> Standing | None:
        """One rollout as it was read or written here last, without a look at the store; None: it was not there."""
        return self._known.get(name)

    async def one(self, name: str) -> Standing:
        """One rollout; NotFound."""
        await self.all()
        if (standing := self._known.get(name)) is None:
            raise NotFound(
                f"there is no Rollout `{name[:128]}`", hint="`podium rollout list` shows those that are declared"
            )
        return standing

    async def write(self, standing: Standing, move: Move, *, author: str) -> Revision | None:
        """Make it so, as one revision. None: another revision came first, and nothing was written.

        InvalidRequest, Conflict: the declared state would be wrong.
        """
        after = dict(standing.state)
        for resource in (Resource("Progress", standing.name, move.progress), *move.puts):
            after[resource.kind, resource.name] = resource
        others = tuple(check_active(standing.state, after, but=standing.name))
        raise_problems((*others, *check_change(standing.state, after)))
        try:
            revision = await self._store.commit(
                expected=standing.revision,
                author=author,
                message=move.message[:_MAX_MESSAGE],
                changes=changes_between(standing.state, after),
            )
        except Conflict:
            return None
        self._know(revision.number, after)
        self._changed()
        return revision

    def _know(self, number: int, state: State) -> None:
        self._known_revision, self._known = number, {one.name: one for one in standings_of(number, state)}

    async def last_move(self, name: str) -> Revision | None:
        """The newest revision that moved this rollout, of the last two hundred."""
        for revision in await self._store.revisions(before=None, limit=200):
            if any(change.kind == "Progress" and change.name == name for change in revision.changes):
                return revision
        return None


def standings_of(number: int, state: State) -> Iterable[Standing]:
    """The rollouts of a state."""
    for (kind, name), resource in state.items():
        if kind == "Rollout" and isinstance(resource.spec, Rollout):
            progress = state.get(("Progress", name))
            spec = progress.spec if progress is not None and isinstance(progress.spec, Progress) else None
            yield Standing(number, name, resource.spec, spec, state)
