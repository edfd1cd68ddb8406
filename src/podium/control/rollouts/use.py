"""What operators do with rollouts: start, pause, resume, promote, abort, approve, undo, and look.

A command is about the rollout as its operator saw it. When somebody or something moved it since, the command is
refused and told what happened; it is never tried again on what nobody has looked at. Other changes in between do not
matter.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import msgspec
import structlog

from podium.control.authors import check_author
from podium.control.ports import Revision
from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.ports import Analyst, EvidenceShelf, Judgement
from podium.control.rollouts.standing import Move, Standing, Standings
from podium.control.rollouts.views import EvidenceNote, RolloutView, VerdictView, view_of
from podium.control.turn import Tries
from podium.core.clock import Clock
from podium.core.errors import Conflict, InvalidRequest, NotFound
from podium.core.ids import random_token
from podium.core.rollouts import ACTIVE_PHASES, Progress
from podium.delivery.analysis.evidence import Bundle
from podium.delivery.phases import Happening

__all__ = ["Rollouts"]

_log = structlog.get_logger("podium.control.rollouts")

_MAX_MESSAGE = 1000
_SALT_LENGTH = 16
_EVIDENCE_S = 10.0


class Rollouts:
    """The use cases.

    `verdict`: what the loop of this process saw last of a rollout. `keeper`: keeps what experiments had shown when an
    operator ends them.
    """

    def __init__(
        self,
        standings: Standings,
        clock: Clock,
        *,
        verdict: Callable[[str], VerdictView | None] = lambda _: None,
        shelf: EvidenceShelf | None = None,
        keeper: Analyst | None = None,
    ) -> None:
        self._standings = standings
        self._clock = clock
        self._verdict = verdict
        self._shelf = shelf
        self._keeper = keeper

    async def all(self) -> tuple[RolloutView, ...]:
        """Every declared rollout, by name."""
        return tuple(map(self._view, await self._standings.all()))

    async def get(self, name: str) -> RolloutView:
        """One rollout; NotFound."""
        return self._view(await self._standings.one(name))

    async def evidence_of(self, name: str, *, limit: int = 50) -> tuple[EvidenceNote, ...]:
        """What was kept of a rollout's decisions, newest first; also of one that was deleted since."""
        if self._shelf is None:
            return ()
        found = await self._shelf.evidence_of(name, limit=limit)
        return tuple(EvidenceNote(id=key, decided_unix_s=decided_unix_s) for key, decided_unix_s in found)

    async def evidence(self, name: str, key: str) -> Bundle:
        """What one decision was made on; NotFound."""
        bundle = None if self._shelf is None else await self._shelf.evidence(key)
        if bundle is None or bundle.name != name:
            raise NotFound(f"there is no evidence `{key[:100]}` of a rollout `{name[:128]}`")
        return bundle

    async def start(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Try the candidate, then bring it to its first users; anew, when it has ended before."""
        return await self._command(name, Happening.STARTED, author, message, seen)

    async def pause(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Hold it where it is."""
        return await self._command(name, Happening.PAUSED, author, message, seen)

    async def resume(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Let it go on from where it is."""
        return await self._command(name, Happening.RESUMED, author, message, seen)

    async def promote(
        self,
        name: str,
        *,
        author: str,
        message: str = "",
        seen: float | None = None,
        to_end: bool = False,
        arm: str = "",
    ) -> RolloutView:
        """Move it one step forward, or to its end, without waiting. `arm`: of an A/B, whose version is promoted."""
        happening = Happening.PROMOTED_FULLY if to_end or arm else Happening.PROMOTED
        return await self._command(name, happening, author, message, seen, arm=arm)

    async def abort(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """End it: the version before serves alone again."""
        return await self._command(name, Happening.ABORTED, author, message, seen)

    async def approve(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Agree to what waits. Forbidden: to who asked for it."""
        return await self._command(name, Happening.APPROVED, author, message, seen)

    async def undo(self, name: str, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Take a promotion back."""
        return await self._command(name, Happening.UNDONE, author, message, seen)

    async def _command(
        self, name: str, happening: Happening, author: str, message: str, seen: float | None, *, arm: str = ""
    ) -> RolloutView:
        """NotFound; Conflict: it moved since it was seen, or this is not possible where it stands."""
        check_author(author)
        if len(message) > _MAX_MESSAGE or "\0" in message:
            raise InvalidRequest(
                f"a message is at most {_MAX_MESSAGE} characters, none of them NUL", parameter="message"
            )
        salt = random_token(_SALT_LENGTH)
        async with Tries(self._standings.turn) as tries:
            while await tries.another():
                standing = await self._standings.one(name)
                seen = standing.seen if seen is None else seen
                if standing.seen != seen:
                    raise await self._passed(standing, happening)
                asked = Asked(author=author, now_unix_s=self._clock.unix_ns() / 1e9, message=message)
                move = moved(standing, happening, asked, salt=salt, arm=arm)
                if move is None:
                    return self._view(standing)
                move = await self._with_evidence(standing, move, str(happening), asked.now_unix_s)
                revision = await self._standings.write(standing, move, author=author)
                if revision is not None:
                    return view_of(_after(standing, move.progress, revision))
        raise Conflict("others change resources all the time; the command found no moment", hint="try again")

    async def _with_evidence(self, standing: Standing, move: Move, happening: str, now_unix_s: float) -> Move:
        """What ends an experiment keeps what it had shown, whoever ends it. It ends also when that takes too long."""
        ends = move.progress.phase not in ("pending", *ACTIVE_PHASES)
        serves = standing.progress is not None and bool(standing.progress.arms)
        if self._keeper is None or standing.rollout.experiment is None or not (ends and serves):
            return move
        told = move.progress
        judgement = Judgement(verdict="inconclusive", reason=told.reason, detail=told.detail, after=told)
        try:
            async with asyncio.timeout(_EVIDENCE_S):
                evidence = await self._keeper.keep(standing, judgement, happening, now_unix_s)
        except TimeoutError:
            _log.warning("an experiment ends without its evidence", experiment=standing.name)
            return move
        return replace(move, progress=msgspec.structs.replace(told, evidence=evidence))

    async def _passed(self, standing: Standing, happening: Happening) -> Conflict:
        """Says what moved the rollout, who did it and where it is now."""
        last = await self._standings.last_move(standing.name)
        by = "" if last is None else f" by {last.author} (revision {last.number}: {last.message})"
        now = standing.progress
        place = "is as if it had never been started" if now is None else f"is {_place(now)}"
        return Conflict(
            f"rollout `{standing.name}` moved since you saw it{by}; it {place} now, and was not {happening}",
            parameter="seen",
            hint=f"look at it (`podium rollout show {standing.name}`), then decide anew",
        )

    def _view(self, standing: Standing) -> RolloutView:
        return view_of(standing, self._verdict(standing.name))


def _after(standing: Standing, progress: Progress, revision: Revision) -> Standing:
    return Standing(revision.number, standing.name, standing.rollout, progress, standing.state)


def _place(progress: Progress) -> str:
    step = f" at step {progress.step + 1}" if progress.phase in ("running", "paused") else ""
    return f"{progress.phase}{step}{f': {progress.detail}' if progress.detail else ''}"
