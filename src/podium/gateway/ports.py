"""What the data plane needs from the world. `web`, `upstreams`, `store` and `telemetry` match these by shape."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from podium.core.event import Event
from podium.core.resources import Provider
from podium.economics.budgets import values as budgets
from podium.traffic.limiting import buckets as limiting
from podium.traffic.limiting.limiter import Grant, LastRefusal

__all__ = [
    "Admission",
    "Answer",
    "Budgets",
    "Caller",
    "EventSink",
    "Headers",
    "HealthSource",
    "HealthView",
    "Journal",
    "Limits",
    "Upstream",
    "UpstreamFactory",
]

Headers = bytes  # header lines, each ended by CRLF; names in lower case


class Caller(Protocol):
    """The connection that one request came on, and its one answer goes to."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Names in lower case; of repeated ones the last."""

    @property
    def gone(self) -> bool:
        """True once the connection is closed."""

    @property
    def address(self) -> str:
        """The IP address that it comes from, as far as proxies can be trusted; empty when there is none."""

    @property
    def body(self) -> bytes | None:
        """The whole body; None: ask `read_body`."""

    async def read_body(self) -> bytes:
        """The whole body; RequestTooLarge, RequestTimeout."""

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""

    def start(self, status: int, headers: Headers) -> None:
        """Begin a streamed answer."""

    def write(self, data: bytes) -> bool:
        """A piece of a streamed answer; False: hold back until `on_room` is called."""

    def finish(self, data: bytes = b"") -> None:
        """The last piece and the end of a streamed answer."""

    def on_room(self, callback: Callable[[], None]) -> None:
        """What to call when the connection takes bytes again."""


class Answer(Protocol):
    """An upstream's answer, its head read."""

    @property
    def status(self) -> int:
        """HTTP's."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Names in lower case; of repeated ones the last."""

    @property
    def streamed(self) -> bool:
        """True for an event stream, which is still to come."""

    @property
    def notes(self) -> Headers:
        """Header lines for the caller: what a translation left out, say."""

    @property
    def body(self) -> bytes:
        """The whole body of an answer that is not streamed."""

    async def relay(self, on_piece: Callable[[bytes], bool]) -> None:
        """Hand each piece of a streamed body to `on_piece` as it arrives, until it ends or `on_piece` returns False.

        UpstreamFailed, UpstreamTimeout: it broke off. What `on_piece` raises comes out here.
        """

    def pause(self) -> None:
        """Read nothing more for now."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Drop what is still to come. Harmless after the end."""


class Upstream(Protocol):
    """One model at one provider."""

    @property
    def label(self) -> str:
        """provider/model."""

    @property
    def provider(self) -> str:
        """The provider's name."""

    @property
    def model(self) -> str:
        """The model's name there."""

    @property
    def reports_stream_usage(self) -> bool:
        """True when it may be asked for usage on every stream."""

    @property
    def endpoints(self) -> frozenset[str]:
        """What it can be called with."""

    @property
    def total_s(self) -> float:
        """How long one exchange may take, all attempts together."""

    def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        `deadline_s` is on the event loop's clock. UpstreamFailed, UpstreamTimeout.
        """


class UpstreamFactory(Protocol):
    """Makes upstreams and owns their connections, which outlive a change of the snapshot."""

    def upstream(self, provider: str, spec: Provider, model: str) -> Upstream | None:
        """The upstream for a model of a provider; None when it cannot be called (its secret is missing, say)."""

    def retire_unused(self) -> None:
        """Give up the connections of what was not asked for since the last time; running calls finish."""


class HealthView(Protocol):
    """What active checks of a provider say."""

    @property
    def usable(self) -> bool:
        """False when calls should go elsewhere."""

    def explain(self) -> str:
        """A sentence for operators."""


class HealthSource(Protocol):
    """Checks providers."""

    def view(self, account: str, spec: Provider) -> HealthView | None:
        """What is known of an account's health; None: nobody checks it."""

    def retire_unused(self) -> None:
        """End the checks of accounts that were not asked for since the last time."""


class Journal(Protocol):
    """Where finished exchanges are kept until the ledger has them."""

    @property
    def accepting(self) -> bool:
        """False while records cannot be written."""

    def append(self, record: bytes, written: Callable[[OSError | None], None]) -> None:
        """Write a record; `written` is called, soon, when it is as safe as the settings ask."""


class EventSink(Protocol):
    """One view of the events."""

    def observe(self, event: Event) -> None:
        """Take note of a finished exchange. Must be cheap and must not raise."""


class Limits(Protocol):
    """Admits exchanges: `podium.traffic.limiting.limiter.Limiter` in memory, or one that gateways share.

    Nothing here raises, and `settle` and `release` never wait: what a store has to be told is told by the object's own
    task; while a store is away, the object decides by itself.
    """

    def acquire(
        self, buckets: Sequence[limiting.Bucket], charge: limiting.Charge, now_ns: int
    ) -> Grant | limiting.Refusal | Awaitable[Grant | limiting.Refusal]:
        """Take `charge` from every bucket, or nothing at all. An awaitable: somebody else has to be asked."""

    def settle(self, grant: Grant, facts: limiting.Charge, now_ns: int) -> None:
        """End an exchange that took `facts` in truth."""

    def release(self, grant: Grant, now_ns: int) -> None:
        """End an exchange that cost nothing."""

    def standings(self, grant: Grant, now_ns: int) -> tuple[limiting.Standing, ...]:
        """How the buckets of a grant stand, as far as is known here."""

    def look(self, bucket: limiting.Bucket, now_ns: int) -> tuple[limiting.Standing, LastRefusal | None]:
        """How a bucket stands and when it last refused, as far as is known here."""


class Budgets(Protocol):
    """Holds what exchanges may cost, and counts what they did; with the promises of `Limits` about waiting and raising.

    Unavailable: too many reservations are held.
    """

    def reserve(
        self,
        reservation_id: bytes,
        charges: Sequence[budgets.Charge],
        estimate: budgets.Cost,
        unix_ns: int,
        now_ns: int,
    ) -> budgets.Reservation | budgets.Refusal | Awaitable[budgets.Reservation | budgets.Refusal]:
        """Hold the estimate in every account, or nothing. An awaitable: somebody else has to be asked."""

    def settle(self, reservation_id: bytes, fact: budgets.Cost) -> object:
        """Give back what was held and count what it cost, once."""

    def release(self, reservation_id: bytes) -> object:
        """Give back what was held: it cost nothing."""


class Admission(Protocol):
    """Limits and budgets asked for together, where one store keeps both; with the promises of `Limits`."""

    def admit(
        self,
        buckets: Sequence[limiting.Bucket],
        charge: limiting.Charge,
        asked: budgets.Reservation,
        now_ns: int,
    ) -> Awaitable[tuple[Grant | limiting.Refusal, budgets.Reservation | budgets.Refusal | None]] | None:
        """Take `charge` from every bucket and hold `asked` in every account, or nothing at all; None: ask each alone.

        A grant beside a refusal of budgets holds nothing; it tells how limits stand. Both are ended as ever.
        """
