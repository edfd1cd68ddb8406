"""Anthropic's Messages endpoint for upstreams that speak chat: translated on the way there and on the way back."""

from collections.abc import Awaitable, Callable

from podium.core.ids import random_token
from podium.gateway.ports import Answer, Headers, Upstream
from podium.upstreams.quirks import Adapter, Quirks
from podium.upstreams.translated import TranslatedAnswer, refused, translated_answer, wants_stream
from podium.wire.anthropic.from_chat import MessageStream, translate_error
from podium.wire.anthropic.to_chat import LimitField, translate_request
from podium.wire.translation import StreamTranslation, Unsupported

__all__ = ["MessagesOverChat"]

_CHAT = "chat.completions"
_MESSAGES = "messages"
_NO_STREAM_OPTIONS = Adapter(Quirks(unknown=frozenset(("stream_options",))))


class MessagesOverChat:
    """An upstream with one more endpoint (podium.gateway.ports.Upstream). All other calls go to `chat` as they are.

    `limit_field` is the name under which `chat` wants the limit of tokens; `cache_marks`: it understands Anthropic's
    marks of what to cache; `top_k`: it knows that field.
    """

    __slots__ = (
        "_cache_marks",
        "_chat",
        "_limit_field",
        "_top_k",
        "_unsupported",
        "endpoints",
        "label",
        "model",
        "provider",
        "reports_stream_usage",
        "total_s",
    )

    def __init__(
        self,
        chat: Upstream,
        *,
        unsupported: Unsupported,
        limit_field: LimitField = "max_tokens",
        cache_marks: bool = False,
        top_k: bool = False,
    ) -> None:
        self._chat = chat
        self._unsupported: Unsupported = unsupported
        self._limit_field: LimitField = limit_field
        self._cache_marks = cache_marks
        self._top_k = top_k
        self.endpoints = chat.endpoints | {_MESSAGES}
        self.label = chat.label
        self.model = chat.model
        self.provider = chat.provider
        self.reports_stream_usage = chat.reports_stream_usage
        self.total_s = chat.total_s

    def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        InvalidRequest: there is no such endpoint, or a chat cannot say what is asked.
        """
        if endpoint == _MESSAGES:
            return self._messages(body, headers, deadline_s)
        return self._chat.call(endpoint, body, headers=headers, deadline_s=deadline_s)

    async def _messages(self, body: bytes, headers: Headers, deadline_s: float) -> Answer:
        translated = translate_request(
            body,
            unsupported=self._unsupported,
            fallback_id="msg_" + random_token(24),
            limit_field=self._limit_field,
            cache_marks=self._cache_marks,
            top_k=self._top_k,
        )
        chat = translated.body
        if not self.reports_stream_usage:
            chat, _ = _NO_STREAM_OPTIONS.request(chat)
        answer = await self._chat.call(_CHAT, chat, headers=headers, deadline_s=deadline_s)
        return translated_answer(answer, translated, streamed=wants_stream(body), refusal=_refused, end_of=_end_of)


def _end_of(stream: StreamTranslation) -> Callable[[], bytes]:
    assert isinstance(stream, MessageStream)
    return stream.end


def _refused(answer: Answer, notes: Headers) -> TranslatedAnswer:
    return refused(answer, translate_error(answer.status, answer.body), notes=notes)
