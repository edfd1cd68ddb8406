"""The gateway as a client sees it: its models, and chats as they stream."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from podium.cli._http import Peer, open_client, refusal, translated
from podium.core.errors import OperatorError, UpstreamFailed

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

__all__ = ["Answer", "ChatRequest", "GatewayClient", "ServedModel"]

_READ_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One line of `/v1/models`."""

    id: str
    owned_by: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn of a chat: all messages so far as (role, text)."""

    model: str
    messages: Sequence[tuple[str, str]]
    max_tokens: int | None = None
    temperature: float | None = None

    def body(self) -> dict[str, object]:
        """The request body; what was not chosen is not in it."""
        optional = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in self.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        } | {name: value for name, value in optional.items() if value is not None}


@dataclass(slots=True)
class Answer:
    """An answer as it grows."""

    request_id: str = ""
    model: str = ""
    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, int] | None = None

    def take(self, event: Any) -> str:
        """Add one event of the stream; the text that it brought."""
        if not isinstance(event, dict):
            return ""
        self.model = str(event.get("model") or self.model)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.usage = {name: count for name, count in usage.items() if isinstance(count, int)}
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return ""
        self.finish_reason = choices[0].get("finish_reason") or self.finish_reason
        delta = choices[0].get("delta")
        piece = delta.get("content") if isinstance(delta, dict) else None
        if not isinstance(piece, str):
            return ""
        self.text += piece
        return piece


class GatewayClient:
    """Calls to one gateway. A context manager: leaving it closes the connection, and so cancels a running answer."""

    def __init__(self, peer: Peer, key: str | None) -> None:
        self._peer = peer
        self._client = open_client(peer, key, read_timeout_s=_READ_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self._client.close()

    def models(self) -> tuple[ServedModel, ...]:
        """What this key may use."""
        import httpx  # noqa: PLC0415 - takes time, and most commands need none

        try:
            response = self._client.get("/v1/models")
        except httpx.TransportError as error:
            raise translated(error, self._peer) from None
        body = self._json(response)
        entries = body.get("data") if isinstance(body, dict) else None
        if not isinstance(entries, list):
            raise OperatorError(f"{self._peer.url} answers, but not as Podium's gateway.", hint="Is --url right?")
        return tuple(
            ServedModel(str(one.get("id")), str(one.get("owned_by") or "")) for one in entries if isinstance(one, dict)
        )

    def chat(self, request: ChatRequest, answer: Answer) -> Iterator[str]:
        """The pieces of the answer as they come; `answer` holds the whole. Closing the iterator cancels the call."""
        import httpx  # noqa: PLC0415 - takes time, and most commands need none

        try:
            with self._client.stream("POST", "/v1/chat/completions", json=request.body()) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    self._json(response)
                answer.request_id = response.headers.get("x-request-id", "")
                yield from self._pieces(response, answer)
        except httpx.TransportError as error:
            raise translated(error, self._peer) from None

    def _pieces(self, response: "httpx.Response", answer: Answer) -> Iterator[str]:
        from podium.wire.sse import SseFramer, event_data, split_events  # noqa: PLC0415 - only where used

        framer = SseFramer()
        for block in response.iter_bytes():
            for event in split_events(framer.feed(block)):
                data = event_data(event)
                if not data:
                    continue
                if data.strip() == b"[DONE]":
                    return
                decoded = _decoded(data)
                if isinstance(decoded, dict) and decoded.get("error"):
                    raise refusal(response.status_code, data, self._peer)
                if piece := answer.take(decoded):
                    yield piece
        if answer.finish_reason is None:  # some servers leave out [DONE]
            raise UpstreamFailed("The answer ended before it was complete.", hint="Try again.")

    def _json(self, response: "httpx.Response") -> Any:
        if not response.is_success:
            raise refusal(response.status_code, response.content, self._peer)
        try:
            return response.json()
        except ValueError:
            return None


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise UpstreamFailed("The gateway sent an event that is not JSON.") from None
