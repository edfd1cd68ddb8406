"""What a decision was made on, whole, so that it can be read years later without any other record."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.analysis.observed import ArmSeen
from podium.delivery.analysis.tally import COUNTS
from podium.delivery.analysis.verdict import Verdict

__all__ = ["ArmRecord", "Bundle", "Point", "RevisionNote", "arm_record", "decode_bundle", "encode_bundle"]


class RevisionNote(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that moved the rollout."""

    number: int
    author: str
    message: str
    created_unix_s: float


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """An arm in one stretch of time. Measures that nothing is known of are left out; times are typical ones."""

    unix_s: int
    arm: str
    exchanges: int
    measures: dict[str, float]


class ArmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An arm at one step: how many exchanges it had, and how they ended."""

    name: str
    version: str
    step: int
    began_unix_s: float
    first_unix_s: float
    last_unix_s: float
    counts: dict[str, int]
    quantiles_ms: dict[str, dict[str, float]] = {}  # of ttft_ms and duration_ms: p50, p95, p99; to 6%


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of one decision: samples, intervals, course, revisions, what was declared."""

    name: str  # of the rollout
    decided_unix_s: float
    happening: str  # podium.delivery.phases.Happening
    reason: str
    detail: str  # the same in a sentence
    rollout: Rollout  # as it was declared
    progress: Progress | None  # where it stood when it was decided
    verdict: Verdict | None  # None: no analysis made the decision
    digests: dict[str, str] = {}  # of versions, by name
    arms: tuple[ArmRecord, ...] = ()
    metrics: tuple[MetricResult, ...] = ()  # every measure, with intervals that end on both sides
    timeline: tuple[Point, ...] = ()
    revisions: tuple[RevisionNote, ...] = ()
    # podium.delivery.experiments.report.ExperimentReport, as the experiment stood by this. Open, so that the rest of a
    # bundle is read also when a later Podium reports otherwise.
    experiment: dict[str, Any] | None = None


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Bundle).decode


def encode_bundle(bundle: Bundle) -> tuple[str, bytes]:
    """Its id, which is the SHA-256 of its bytes, and these: JSON."""
    body = _encode(bundle)
    return hashlib.sha256(body).hexdigest(), body


def decode_bundle(body: bytes) -> Bundle:
    """From what `encode_bundle` gave."""
    return _decode(body)


def arm_record(seen: ArmSeen, quantiles_ms: Mapping[str, dict[str, float]] | None = None) -> ArmRecord:
    """An arm as a bundle has it."""
    return ArmRecord(
        name=seen.name,
        version=seen.version,
        step=seen.step,
        began_unix_s=seen.span_us / 1e6,
        first_unix_s=seen.first_unix_ns / 1e9,
        last_unix_s=seen.last_unix_ns / 1e9,
        counts=dict(zip(COUNTS, seen.counts, strict=True)),
        quantiles_ms=dict(quantiles_ms or {}),
    )
