"""Judges of answers: another model compares what a candidate answered with what another version answers.

1. A share of the candidate's exchanges is judged, once their callers have their answers. Of a shadow rollout the copies
   are, against what callers got; of all others another version is asked the same.
2. The judge is asked twice, with the answers in both orders. What it says goes into the journal as an opinion about the
   candidate's exchange: numbers, and no words.
3. Nobody waits for any of this, and nothing of it can fail a caller: there is room for so many at once, and what is too
   much is dropped. The calls are exchanges of their own, as copies are.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec
import structlog

from podium.core.exchange import Exchange
from podium.core.ids import event_id, random_token
from podium.core.reasons import Fault
from podium.core.recent import Recent
from podium.core.records import JudgementRecord, encode_opinion
from podium.delivery.analysis.pairs import RESPONSE_FORMAT, Pair, questions, scores_of
from podium.delivery.judging import Judging
from podium.gateway.copies import Copies, Seen, answer_text
from podium.gateway.faces import face_of
from podium.gateway.landing import Outcome
from podium.gateway.pool import Pool
from podium.gateway.turns import PRIORITY_HEADER
from podium.traffic.queueing.fair_queue import Priority

__all__ = ["MOST_JUDGED", "Judges"]

log = structlog.get_logger(__name__)

MOST_JUDGED = 16  # at once, of one gateway process; with their requests and answers they are held in memory
_MAX_REQUEST_BYTES = 512 * 1024  # longer ones are not read again for a judge
_TIMEOUT_S = 120.0  # of each question
_MAX_TOKENS = 1024  # of each of a judge's answers; some think before they speak
_ENDPOINT = "chat.completions"
_LAST: Mapping[bytes, bytes] = {PRIORITY_HEADER: Priority.BATCH.encode()}  # callers go first
_encode = msgspec.json.Encoder().encode


class Judges:
    """Asks judges, and owns what runs for it in one gateway process."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._running: set[asyncio.Task[None]] = set()
        self._ends: Counter[str] = Counter()
        self._plain: Recent[str, bool] = Recent(64)  # versions of judges that know no response format
        self._failing: set[str] = set()  # rollouts whose judge failed the last time

    def counts(self) -> Mapping[tuple[str, ...], float]:
        """What became of exchanges that were to be judged.

        `agreed`: the judge said the same in both orders; `by_order`: it did not, which counts as even. `unreadable`:
        its words were no verdict. `failed`: it, or the other version, did not answer. `dropped`: too many at once.
        `incomparable`: one of the answers has no text, or the judge may not see it.
        """
        return {(end,): count for end, count in self._ends.items()}

    def judge(self, seen: Seen) -> None:
        """Compare what a caller got with another version's answer, if there is room."""
        own = answer_text(seen.exchange, seen.outcome)
        self._begin(seen, None if own is None else self._compare_anew(seen, own))

    def compare(self, seen: Seen, copied: Exchange, outcome: Outcome) -> None:
        """Compare the answer to a copy with what the caller got, if there is room."""
        own, other = answer_text(copied, outcome), answer_text(seen.exchange, seen.outcome)
        if own is None or other is None:
            self._begin(seen, None)
        else:
            self._begin(seen, self._compare(seen, copied.id, own, other, 0))

    async def close(self, timeout_s: float) -> None:
        """Break off what runs."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    def _begin(self, seen: Seen, work: Coroutine[Any, Any, None] | None) -> None:
        if work is None:
            self._ends["incomparable"] += 1
            return
        if len(self._running) >= MOST_JUDGED:
            work.close()
            self._ends["dropped"] += 1
            return
        task = asyncio.get_running_loop().create_task(
            self._guarded(seen, work), name=f"judgement for rollout {seen.exchange.rollout}"
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _guarded(self, seen: Seen, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            self._ends["failed"] += 1
        except Exception:  # the task's boundary: a bug of ours is logged
            self._ends["failed"] += 1
            log.exception("judgement_failed", request_id=seen.exchange.request_id)

    async def _compare_anew(self, seen: Seen, own: str) -> None:
        exchange, rollout = seen.exchange, seen.world.rollouts.get(seen.exchange.model)
        judging = None if rollout is None else rollout.judging
        pool = None if rollout is None or judging is None else rollout.pools.get(judging.other)
        if pool is None:
            self._ends["failed"] += 1
            return
        copied = self._copies.like(exchange, arm="")
        copied.judged = True
        headers = {**seen.headers, **_LAST}
        outcome = await self._copies.run(copied, headers, seen.face, seen.request, seen.body, seen.world, pool)
        other = answer_text(copied, outcome)
        if other is None:
            self._ends["incomparable" if copied.error is None else "failed"] += 1
            return
        await self._compare(seen, exchange.id, own, other, copied.cost_nanousd)

    async def _compare(self, seen: Seen, judged: bytes, own: str, other: str, cost_nanousd: int) -> None:
        rollout = seen.world.rollouts.get(seen.exchange.model)
        judging = None if rollout is None else rollout.judging
        pool = None if judging is None else seen.world.pool(judging.model)
        if judging is None or pool is None or not seen.world.serves(judging.model, _ENDPOINT):
            self._ends["failed"] += 1
            return
        request = _request_text(seen)
        if request is None or not _may_see(seen, pool):
            self._ends["incomparable"] += 1
            return
        asked = questions(Pair(request, own, other), random_token(12))
        answers = await asyncio.gather(*(self._ask(seen, judging, pool, question) for question in asked))
        first, second = (text for text, _ in answers)
        self._tell(seen, judging, failed=first is None or second is None)
        if first is None or second is None:
            self._ends["failed"] += 1
            return
        scores = scores_of(first, second)
        if scores is None:
            self._ends["unreadable"] += 1
            return
        self._record(seen, judging, pool, judged, scores, cost_nanousd + sum(cost for _, cost in answers))

    async def _ask(self, seen: Seen, judging: Judging, pool: Pool, question: str) -> tuple[str | None, int]:
        """What the judge says, and what it cost. It is asked once more if it cannot be held to a format."""
        face, cost_nanousd = face_of(_ENDPOINT), 0
        known_plain = self._plain.get(pool.label) is not None
        for plain in (True,) if known_plain else (False, True):
            body = _question(judging.model, question, plain=plain)
            asked = self._copies.beside(seen.exchange, _ENDPOINT, judging.model)
            asked.timeout_s = _TIMEOUT_S
            asked.bytes_in = len(body)
            request = face.read_request(body)
            outcome = await self._copies.run(asked, _LAST, face, request, body, seen.world, pool)
            cost_nanousd += asked.cost_nanousd
            if asked.error is None:
                if plain:
                    self._plain.put(pool.label, True)
                return answer_text(asked, outcome), cost_nanousd
            if asked.fault is not Fault.CALLER:
                break
        return None, cost_nanousd

    def _record(
        self,
        seen: Seen,
        judging: Judging,
        pool: Pool,
        judged: bytes,
        scores: tuple[float, float],
        cost_nanousd: int,
    ) -> None:
        unix_ns = self._copies.clock.unix_ns()
        first, second = scores
        end = "agreed" if first == second else "by_order"
        record = JudgementRecord(
            id=event_id(unix_ns),
            given_unix_s=unix_ns / 1e9,
            tenant=seen.exchange.tenant,
            exchange_id=judged,
            judge=judging.model,
            judge_version=pool.label,
            score_first=first,
            score_second=second,
            cost_nanousd=cost_nanousd,
        )

        def note(failure: OSError | None) -> None:
            self._ends[end if failure is None else "failed"] += 1

        self._copies.journal.append(encode_opinion(record), note)

    def _tell(self, seen: Seen, judging: Judging, *, failed: bool) -> None:
        """Once when a judge begins to fail, and once when it answers again."""
        rollout = seen.exchange.rollout
        if failed and rollout not in self._failing:
            self._failing.add(rollout)
            log.warning("judge_does_not_answer", rollout=rollout, judge=judging.model)
        elif not failed and rollout in self._failing:
            self._failing.discard(rollout)
            log.info("judge_answers_again", rollout=rollout, judge=judging.model)


def _may_see(seen: Seen, judge: Pool) -> bool:
    """Whether texts of the model may go wherever the judge runs."""
    own = seen.world.pool(seen.exchange.model)
    return own is not None and not judge.outside(own.residency)


def _request_text(seen: Seen) -> str | None:
    if len(seen.body) > _MAX_REQUEST_BYTES:
        return None
    try:
        return seen.face.request_text(seen.body)
    except (ValueError, RecursionError):  # not UTF-8, or nested too deeply to be looked through
        return None


def _question(model: str, text: str, *, plain: bool) -> bytes:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if not plain:
        asked |= {"temperature": 0, "max_tokens": _MAX_TOKENS, "response_format": RESPONSE_FORMAT}
    return _encode(asked)
