"""Subjects who come, send a few exchanges or many, and go; and what becomes of these at each arm.

Subjects differ: in how busy they are, how often their requests fail, how long their prompts take, and in what a judge
makes of their answers. Exchanges are added up as the ledger does it: by arm and by group of subjects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from podium.core.rollouts import BUCKETS, ArmShare
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.tally import CLUSTERS, WIDTH

__all__ = ["SAME", "Change", "Traffic"]

Floats = NDArray[np.float64]

BUSY = 1.0  # spread of the logarithm of exchanges a look
ERRORS = (2.0, 198.0)  # a beta distribution: 1% on average
TYPICAL_TTFT_MS = 400.0
TTFT_OF_SUBJECT, TTFT_OF_EXCHANGE = 0.3, 0.5  # spread of logarithms
EMPTY = 0.002
JUDGED = 0.2  # of the exchanges
TIES = 0.4  # of the pairs
TASTE = 0.1  # spread of what a judge prefers, by subject


@dataclass(frozen=True)
class Change:
    """What the candidate does otherwise than the version before."""

    ttft_factor: float = 1.0
    errors: float = 0.0  # more, as a share of the exchanges
    judge: float = 0.0  # a share of the score


SAME = Change()


class Traffic:
    """A crowd of subjects; each look brings the exchanges since the last one.

    `leaving`: how many of the subjects go from one look to the next; others take their places.
    """

    def __init__(self, random: np.random.Generator, subjects: int, leaving: float) -> None:
        self._random, self._leaving = random, leaving
        self._columns = self._new(subjects)

    def _new(self, count: int) -> Floats:
        """One row a trait, one column a subject."""
        random = self._random
        return np.array(
            [
                random.integers(0, BUCKETS, count),
                random.integers(0, CLUSTERS, count),
                random.lognormal(-BUSY * BUSY / 2, BUSY, count),
                random.beta(*ERRORS, count),
                random.normal(log(TYPICAL_TTFT_MS), TTFT_OF_SUBJECT, count),
                random.normal(0, TASTE, count),
            ]
        )

    def look(self, arms: Sequence[ArmShare], change: Change) -> dict[str, Floats]:
        """What each arm's groups add to their totals: rows of groups, laid out as in podium.delivery.analysis.tally."""
        leaving = np.flatnonzero(self._random.random(self._columns.shape[1]) < self._leaving)
        self._columns[:, leaving] = self._new(len(leaving))
        bucket = self._columns[0]
        return {
            arm.name: self._arm(
                self._columns[:, (arm.first <= bucket) & (bucket < arm.first + arm.count)],
                change if arm.name == "candidate" else SAME,
                judged=arm.name != "baseline",  # its answers are what the candidate's are compared to
            )
            for arm in arms
        }

    def _arm(self, subjects: Floats, change: Change, *, judged: bool) -> Floats:
        random, (_, cluster, busy, errors, ttft, taste) = self._random, subjects
        count = random.poisson(busy)
        failed = random.binomial(count, np.minimum(errors + change.errors, 1))
        answered = count - failed
        times = random.normal(answered * (ttft + log(change.ttft_factor)), np.sqrt(answered) * TTFT_OF_EXCHANGE)
        pairs = random.binomial(answered, JUDGED if judged else 0)
        ties = random.binomial(pairs, TIES)
        liking = np.clip(0.5 + (0.5 * change.judge + taste * (1 - TIES)) / (1 - TIES), 0, 1)
        score = random.binomial(pairs - ties, liking) + ties / 2
        totals = np.zeros((CLUSTERS, WIDTH))
        group = cluster.astype(int)
        totals[:, 0] = np.bincount(group, count, CLUSTERS)
        for name, y, x in (
            ("error_rate", failed, count),
            ("ttft_ms", times, answered),
            ("empty_rate", random.binomial(answered, EMPTY), answered),
            ("judge_score", score, pairs),
        ):
            at = 2 * INDEX[name] + 1
            totals[:, at] = np.bincount(group, y, CLUSTERS)
            totals[:, at + 1] = np.bincount(group, x, CLUSTERS)
        return totals
