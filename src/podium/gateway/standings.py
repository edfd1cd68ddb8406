"""What a gateway tells operators: how limits and budgets stand here, and how flags are used."""

from collections.abc import Callable

from msgspec.structs import replace

from podium.core.clock import Clock
from podium.core.errors import Forbidden, InvalidRequest, Unauthenticated, Unavailable
from podium.core.reasons import Reason
from podium.core.standings import LimitStanding, Standings, StandingsQuery
from podium.core.tags import parse_tags
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import Payer
from podium.economics.budgets.values import Standing
from podium.economics.budgets.views import budget_standing
from podium.gateway.bursts import Bursts
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.ports import Limits
from podium.gateway.world import World
from podium.identity.authenticate import authenticate
from podium.identity.keys import digest_secret, parse_api_key
from podium.traffic.limiting.policies import Dimensions
from podium.traffic.limiting.views import limit_standings

__all__ = ["GatewayStandings"]

_PAGE = 200


class GatewayStandings:
    """For operators only: every answer asks for a key with `admin`.

    `book`: None where gateways share budgets; the store is asked for those then.
    """

    def __init__(
        self,
        name: str,
        world: Callable[[], World | None],
        limits: Limits,
        book: Book | None,
        clock: Clock,
        *,
        pepper: bytes,
        flags: FlagCounts | None = None,
        bursts: Bursts | None = None,
    ) -> None:
        self._name = name
        self._flags = flags
        self._bursts = bursts
        self._world = world
        self._limits = limits
        self._book = book
        self._clock = clock
        self._pepper = pepper

    def answer(self, presented: str | None, query: StandingsQuery) -> Standings:
        """How it stands. Unauthenticated, Forbidden: not an operator's key; InvalidRequest; Unavailable: too early."""
        world = self._world()
        if world is None:
            raise Unavailable("Podium is starting.", retry_after_s=1.0)
        self._check_operator(presented, world)
        now_ns, unix_ns = self._clock.monotonic_ns(), self._clock.unix_ns()
        limits: tuple[LimitStanding, ...] = ()
        if query.limits:
            dimensions = Dimensions(query.key, query.user, query.tenant, query.model, query.ip, query.tier)
            limits = limit_standings(world.limits, lambda bucket: self._limits.look(bucket, now_ns), dimensions)
        accounts = self._accounts(query, world, unix_ns)
        budgets = tuple(budget_standing(account, unix_ns) for account in accounts)
        tripped = self._bursts.tripped() if query.rollouts and self._bursts is not None else ()
        told = Standings(place=self._name, limits=limits, budgets=budgets, tripped=tripped)
        if not query.flags or self._flags is None:
            return told
        return replace(told, flags=self._flags.uses(), flags_since_unix_s=self._flags.since_unix_s)

    def _accounts(self, query: StandingsQuery, world: World, unix_ns: int) -> list[Standing]:
        book = self._book
        if book is None or not query.budgets:
            return []
        book.expire(self._clock.monotonic_ns())
        if not query.budget:
            return list(book.standing(world.budgets.charges(payer_of(query), unix_ns), unix_ns))
        prefix = "" if query.budget == "*" else f"{query.budget}|"
        found: list[Standing] = []
        after = prefix
        while len(found) < query.most and (page := book.accounts(after, _PAGE)):
            after = page[-1].charge.key
            found += [one for one in page if one.charge.key.startswith(prefix)]
            if not after.startswith(prefix):
                break
        return found[: query.most]

    def _check_operator(self, presented: str | None, world: World) -> None:
        key = parse_api_key(presented or "")
        if key is None:
            raise Unauthenticated("An API key with `admin` is needed.")
        entry = world.key(key.id)
        reason = authenticate(entry, digest_secret(self._pepper, key.secret), self._clock.unix_ns() / 1e9)
        if reason is not Reason.OK or entry is None:
            raise Unauthenticated("The API key is not valid.", reason=reason)
        if not entry.admin:
            raise Forbidden("The API key is not an operator's.", reason=Reason.ENDPOINT_NOT_ALLOWED)


def payer_of(query: StandingsQuery) -> Payer:
    """Whose budgets are asked for. InvalidRequest: the tags are not of their form."""
    try:
        tags = tuple(parse_tags(query.tags).items())
    except ValueError as error:
        raise InvalidRequest(f"`tags`: {error}", parameter="tags") from None
    return Payer(query.tenant, query.key, query.user, query.model, tags)
