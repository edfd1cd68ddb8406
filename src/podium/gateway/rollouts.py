"""A model under a rollout: which of its versions' pools serves an exchange."""

from collections.abc import Mapping
from random import random
from typing import TYPE_CHECKING

from podium.core.errors import Forbidden, InvalidRequest
from podium.core.event import AnswerFlag
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.delivery.choose import Choice, Chooser, Chosen
from podium.delivery.flags.flagset import FlagSet
from podium.delivery.judging import judging_of
from podium.gateway.bursts import Watched
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.flags import takes_part
from podium.gateway.pool import Pool
from podium.gateway.ports import Caller

if TYPE_CHECKING:
    from podium.gateway.world import Principal

__all__ = ["VERSIONS_SCOPE", "VERSION_HEADER", "RolloutPools"]

VERSION_HEADER = b"x-podium-version"
VERSIONS_SCOPE = "versions"  # among a key's endpoints, by name: `*` does not cover it
_SESSION_HEADER = b"x-podium-session"
_MAX_SESSION = 256
_OUTSIDE = (Choice.OUTSIDE, Choice.OUTSIDE_SEGMENT)
_OVERRIDDEN = int(AnswerFlag.OVERRIDDEN)


class RolloutPools:
    """Made once a snapshot. `pools`: by versions, of those that can be called."""

    __slots__ = ("_arms", "_flags", "_named", "chooser", "judging", "pools")

    def __init__(
        self,
        chooser: Chooser,
        pools: Mapping[str, Pool | None],
        arms: Mapping[tuple[str, str], Watched],
        flags: FlagSet,
    ) -> None:
        self._flags = flags
        self.chooser = chooser
        self.judging = judging_of(chooser.spec, chooser.before)
        self.pools = {name: pool for name, pool in pools.items() if pool is not None and pool.backends}
        self._arms = {arm: arms[chooser.rollout, arm] for arm in chooser.candidates}
        self._named = {name: name for name in pools} | {pool.label: name for name, pool in self.pools.items()}

    def choose(self, exchange: Exchange, caller: Caller, principal: "Principal", counts: FlagCounts) -> Pool | None:
        """The pool of the version that is chosen, which the exchange then knows of; None: nobody can serve."""
        named = caller.headers.get(VERSION_HEADER)
        if named is not None:
            return self._overridden(exchange, named, principal)
        chooser = self.chooser
        gate = chooser.spec.flag
        if gate is not None and not takes_part(gate, exchange, caller, principal, self._flags, counts):
            return self.pools.get(chooser.before)
        session = caller.headers.get(_SESSION_HEADER)
        chosen, subject = chooser.choose(
            exchange.tenant,
            exchange.key_id,
            exchange.user,
            "" if session is None else session.decode("latin-1")[:_MAX_SESSION],
            principal.tier,
            exchange.tags,
        )
        if chosen.version != chooser.before and not self._may_have(chosen, exchange):
            chosen = chooser.tripped
        if chosen.choice not in _OUTSIDE:
            exchange.rollout = chooser.rollout
            exchange.arm = chosen.arm
            exchange.subject = subject
            exchange.mirrored = chosen.mirrored and not self.is_out("")
            judging = self.judging
            if judging is not None and (exchange.mirrored or chosen.arm in judging.arms):
                exchange.judged = random() < judging.share  # noqa: S311 - a sample
        return self.pools.get(chosen.version)

    def _may_have(self, chosen: Chosen, exchange: Exchange) -> bool:
        """Whether the new version is well enough here for one more."""
        if self.is_out(chosen.arm) or chosen.version not in self.pools:
            return False
        return not chosen.arm or self._arms[chosen.arm].begin(exchange)

    def mirror(self) -> Pool | None:
        """The pool that gets copies; None: nobody does."""
        candidate = self.chooser.spec.candidate
        return None if candidate is None or self.is_out("") else self.pools.get(candidate)

    def is_out(self, arm: str) -> bool:
        """Whether the arm failed so much here that nobody gets it; without a name, whether any did."""
        if not arm:
            return any(one.burst.tripped is not None for one in self._arms.values())
        watched = self._arms.get(arm)
        return watched is not None and watched.burst.tripped is not None

    def _overridden(self, exchange: Exchange, named: bytes, principal: "Principal") -> Pool | None:
        entry = principal.entry
        if not (entry.admin or VERSIONS_SCOPE in entry.endpoints):
            raise Forbidden(
                f"This API key may not choose versions: `{VERSION_HEADER.decode()}`.",
                reason=Reason.ENDPOINT_NOT_ALLOWED,
                hint=f"Keys of operators may, and keys with `{VERSIONS_SCOPE}` among their endpoints.",
            )
        version = self._named.get(named.decode("latin-1").strip())
        chosen = None if version is None else self.chooser.override(version)
        if chosen is None:
            takes_part = ", ".join(self.chooser.versions)
            raise InvalidRequest(
                f"`{VERSION_HEADER.decode()}` names no version that takes part in the rollout of this model:"
                f" {takes_part}."
            )
        exchange.rollout = self.chooser.rollout
        exchange.answer_flags = _OVERRIDDEN
        return self.pools.get(chosen.version)
