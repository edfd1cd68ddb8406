"""What the data plane needs from the world. `web`, `upstreams`, `store` and `telemetry` match these by shape."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from podium.core.event import Event
from podium.core.resources import Provider

__all__ = [
    "Answer",
    "Caller",
    "EventSink",
    "Headers",
    "HealthSource",
    "HealthView",
    "Journal",
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
