"""What the data plane needs from the world. `web`, `upstreams`, `store` and `telemetry` match these by shape."""

from collections.abc import Callable, Mapping
from typing import Protocol

from podium.core.event import Event
from podium.core.resources import Provider

__all__ = ["Answer", "Caller", "EventSink", "Headers", "Journal", "Upstream", "UpstreamFactory"]

Headers = list[tuple[bytes, bytes]]


class Caller(Protocol):
    """The connection that one request came on, and its one answer goes to."""

    headers: Mapping[bytes, bytes]  # names in lower case; of repeated ones the last

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

    status: int
    headers: Mapping[bytes, bytes]
    streamed: bool  # an event stream, still coming
    body: bytes  # of one that is not streamed: whole

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

    label: str  # provider/model
    provider: str
    model: str
    reports_stream_usage: bool

    async def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Answer:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        `deadline_s` is on the event loop's clock. UpstreamFailed, UpstreamTimeout.
        """


class UpstreamFactory(Protocol):
    """Makes upstreams and owns their connections."""

    def upstream(self, provider: str, spec: Provider, model: str) -> Upstream | None:
        """The upstream for a model of a provider; None when it cannot be called (its secret is missing, say)."""

    def retain(self, providers: Mapping[str, Provider]) -> None:
        """Close the idle connections of providers that are no longer declared."""


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
