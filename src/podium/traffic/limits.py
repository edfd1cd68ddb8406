"""The limiter of one gateway process: requests and tokens a minute, and concurrency, in memory.

Rules
1. All or nothing: an exchange is admitted when every rule has room in every limit, else nothing is consumed.
2. Tokens are charged as estimated at admission and corrected once to what was used (`Limiter.settle`).
3. A subject is forgotten only when nothing depends on it: no exchange in flight, and not limited.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from math import inf

from podium.core.reasons import Reason
from podium.traffic.meter import UNIT, Meter
from podium.traffic.rules import LimitRule

__all__ = ["Account", "Grant", "Limiter", "Refusal"]

_CONCURRENCY_RETRY_S = 1.0  # nobody knows when a running exchange ends; a second spreads the retries
_LOOK_AT = 8  # accounts that one new account looks at to make room


class Account:
    """What one subject has used, under the rule that it was last asked about with."""

    __slots__ = ("requests", "rule", "running", "tokens")

    def __init__(self, rule: LimitRule, now_ns: int) -> None:
        self.running = 0
        self.requests: Meter | None = None
        self.tokens: Meter | None = None
        self.bind(rule, now_ns)

    def bind(self, rule: LimitRule, now_ns: int) -> None:
        """Go on under a changed rule; what was used stays used."""
        self.rule = rule
        self.requests = _meter_at(self.requests, rule.requests_per_minute, now_ns)
        self.tokens = _meter_at(self.tokens, rule.tokens_per_minute, now_ns)

    def idle(self, now_ns: int) -> bool:
        """True when a fresh account would decide the same."""
        return not (
            self.running
            or (self.requests is not None and self.requests.drain(now_ns))
            or (self.tokens is not None and self.tokens.drain(now_ns))
        )

    def limited(self, now_ns: int) -> bool:
        """True when something is in flight, or there is no room for one more request or token."""
        return bool(
            self.running
            or (self.requests is not None and self.requests.drain(now_ns) + UNIT > self.requests.capacity)
            or (self.tokens is not None and self.tokens.drain(now_ns) + UNIT > self.tokens.capacity)
        )


def _meter_at(meter: Meter | None, per_minute: int | None, now_ns: int) -> Meter | None:
    if per_minute is None:
        return None
    if meter is None:
        return Meter(per_minute, now_ns)
    meter.change_rate(per_minute, now_ns)
    return meter


class Grant:
    """An admitted exchange. Settle or release it when it ends; a second time does nothing."""

    __slots__ = ("accounts", "serial", "settled", "tokens")

    def __init__(self, accounts: list[Account], tokens: int, serial: int) -> None:
        self.accounts = accounts
        self.tokens = tokens  # as estimated
        self.serial = serial
        self.settled = False


class Refusal:
    """Why an exchange was not admitted: of all limits without room, the one with the longest wait."""

    __slots__ = ("accounts", "message", "reason", "retry_after_s", "rule")

    def __init__(
        self, accounts: list[Account], reason: Reason, message: str, retry_after_s: float | None, rule: LimitRule
    ) -> None:
        self.accounts = accounts
        self.reason = reason
        self.message = message  # a sentence for the caller
        self.retry_after_s = retry_after_s  # None: waiting does not help
        self.rule = rule


class Limiter:
    """Admits exchanges. For one event loop: not thread-safe, and nothing in it waits.

    `capacity`: subjects kept in memory. More are kept only while they are limited or in flight.
    """

    __slots__ = ("_accounts", "_capacity", "_serial")

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def acquire(self, rules: tuple[LimitRule, ...], tokens: int, now_ns: int) -> Grant | Refusal:
        """Take one request, `tokens` tokens and one place in flight from every rule, or nothing at all.

        `rules` have different subjects. `tokens` >= 0. `now_ns` is monotonic; a step back counts as no time.
        """
        if len(self._accounts) > self._capacity:
            self._make_room(now_ns)
        charge = tokens * UNIT
        accounts = []
        room = True
        for rule in rules:
            account = self._accounts.get(rule.subject) or self._open(rule, now_ns)
            if account.rule is not rule:
                account.bind(rule, now_ns)
            accounts.append(account)
            requests, used = account.requests, account.tokens
            if (
                (requests is not None and requests.drain(now_ns) + UNIT > requests.capacity)
                or (used is not None and used.drain(now_ns) + charge > used.capacity)
                or (rule.concurrency is not None and account.running >= rule.concurrency)
            ):
                room = False
        if not room:
            return _refusal(accounts, tokens, now_ns)
        serial = self._serial = self._serial + 1
        for account in accounts:
            account.running += 1
            if account.requests is not None:
                account.requests.charge(UNIT, serial)
            if account.tokens is not None:
                account.tokens.charge(charge, serial)
        return Grant(accounts, tokens, serial)

    def settle(self, grant: Grant, tokens: int, now_ns: int) -> None:
        """End an exchange that used `tokens` tokens in all: correct the estimate, free its place in flight.

        What it used above the estimate is owed, even over the limit: later exchanges wait for it.
        """
        if grant.settled:
            return
        grant.settled = True
        difference = (tokens - grant.tokens) * UNIT
        for account in grant.accounts:
            account.running -= 1
            meter = account.tokens
            if meter is not None and difference:
                self._correct(meter, difference, grant.serial, now_ns)

    def release(self, grant: Grant, now_ns: int) -> None:
        """End an exchange that failed before it cost anything: tokens and request are given back too."""
        if grant.settled:
            return
        self.settle(grant, 0, now_ns)
        for account in grant.accounts:
            if account.requests is not None:
                self._correct(account.requests, -UNIT, grant.serial, now_ns)

    def _correct(self, meter: Meter, units: int, serial: int, now_ns: int) -> None:
        meter.drain(now_ns)
        if units > 0:
            self._serial += 1
            meter.charge(units, self._serial)
        else:
            meter.give_back(-units, serial)

    def _open(self, rule: LimitRule, now_ns: int) -> Account:
        account = self._accounts[rule.subject] = Account(rule, now_ns)
        return account

    def _make_room(self, now_ns: int) -> None:
        """Forget what may be forgotten of the few accounts that were opened or looked at longest ago.

        Those that are idle, which changes no decision; else one that has room left, which gives it a full
        minute again. Not inside an `acquire`, whose own accounts may still look idle.
        """
        oldest = list(islice(self._accounts.items(), _LOOK_AT))
        idle = [subject for subject, account in oldest if account.idle(now_ns)]
        roomy = idle or [subject for subject, account in oldest if not account.limited(now_ns)][:1]
        for subject in roomy:
            del self._accounts[subject]
        for subject, _ in oldest:
            if subject in self._accounts:
                self._accounts.move_to_end(subject)


def _refusal(accounts: list[Account], tokens: int, now_ns: int) -> Refusal:
    """The refusal with the longest wait, so that who waits that long finds room in every limit."""
    refusals = [refusal for account in accounts for refusal in _refusals(account, accounts, tokens, now_ns)]
    return max(refusals, key=lambda refusal: inf if refusal.retry_after_s is None else refusal.retry_after_s)


def _refusals(account: Account, accounts: list[Account], tokens: int, now_ns: int) -> Iterator[Refusal]:
    rule = account.rule
    whose = f"this {rule.subject.partition(':')[0]}"
    if account.requests is not None and (wait_ns := account.requests.wait_ns(UNIT, now_ns)):
        message = f"The limit of {rule.requests_per_minute:,} requests a minute for {whose} is used up."
        yield Refusal(accounts, Reason.REQUESTS_LIMITED, message, wait_ns / 1e9, rule)
    if account.tokens is not None and (wait_ns := account.tokens.wait_ns(tokens * UNIT, now_ns)):
        if tokens > account.tokens.per_minute:
            message = (
                f"This request needs about {tokens:,} tokens, which is larger than the whole limit"
                f" of {rule.tokens_per_minute:,} tokens a minute for {whose}."
            )
            yield Refusal(accounts, Reason.TOKENS_LIMITED, message, None, rule)
        else:
            message = f"The limit of {rule.tokens_per_minute:,} tokens a minute for {whose} is used up."
            yield Refusal(accounts, Reason.TOKENS_LIMITED, message, wait_ns / 1e9, rule)
    if rule.concurrency is not None and account.running >= rule.concurrency:
        message = f"The limit of {rule.concurrency:,} exchanges at the same time for {whose} is used up."
        yield Refusal(accounts, Reason.CONCURRENCY_LIMITED, message, _CONCURRENCY_RETRY_S, rule)
