"""Google's Gemini API: the model and what it should do stand in the path. Vertex AI takes the same bodies."""

import time
from collections.abc import Awaitable
from typing import NoReturn
from urllib.parse import quote

from podium.core.errors import UpstreamFailed
from podium.core.ids import random_token
from podium.core.reasons import Reason
from podium.gateway.ports import Answer, Headers
from podium.upstreams.account import Account, AccountUpstream, endpoint_not_supported
from podium.upstreams.translated import TranslatedAnswer, refused, translated_answer, wants_stream
from podium.wire.gemini.embeddings import translate_embeddings
from podium.wire.gemini.errors import openai_status, retry_delay_s, translate_error
from podium.wire.gemini.requests import translate_request
from podium.wire.translation import Translated

__all__ = ["KEY_HEADER", "GeminiUpstream"]

KEY_HEADER = "x-goog-api-key"
_CHAT = "chat.completions"
_EMBEDDINGS = "embeddings"


class GeminiUpstream(AccountUpstream):
    """One model of a provider that speaks Gemini's protocol (podium.gateway.ports.Upstream).

    A model's name with a slash is a path of its own: `tunedModels/x`, or `publishers/google/models/x` at Vertex AI.
    """

    __slots__ = ("_embed_head", "_stream_head", "_whole_head")

    endpoints = frozenset((_CHAT, _EMBEDDINGS))
    reports_stream_usage = True  # every event of the protocol has it

    def __init__(self, provider: str, model: str, account: Account) -> None:
        super().__init__(provider, model, account)
        name = quote(model if "/" in model else f"models/{model}", safe="/").encode()
        self._whole_head = account.request_head(b"/%b:generateContent" % name)
        self._stream_head = account.request_head(b"/%b:streamGenerateContent?alt=sse" % name)
        self._embed_head = account.request_head(b"/%b:batchEmbedContents" % name)

    def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        InvalidRequest: there is no such endpoint, or the protocol cannot say what is asked.
        """
        if endpoint == _CHAT:
            return self._chat(body, headers, deadline_s)
        if endpoint == _EMBEDDINGS:
            return self._embed(body, headers, deadline_s)
        raise endpoint_not_supported(endpoint, self.endpoints)

    async def _chat(self, body: bytes, headers: Headers, deadline_s: float) -> Answer:
        account = self._account
        translated = translate_request(
            body,
            unsupported=account.unsupported,
            created_unix_s=int(time.time()),
            fallback_id="chatcmpl-" + random_token(24),
        )
        streamed = wants_stream(body)
        head = self._stream_head if streamed else self._whole_head
        answer = await account.send(head, headers, translated.body, deadline_s)
        return translated_answer(answer, translated, streamed=streamed, refusal=_refused)

    async def _embed(self, body: bytes, headers: Headers, deadline_s: float) -> Answer:
        account = self._account
        embeddings = translate_embeddings(body, unsupported=account.unsupported)
        answer = await account.send(self._embed_head, headers, embeddings.body, deadline_s)
        translated = Translated(embeddings.body, embeddings.dropped, embeddings.answer, _no_stream)
        return translated_answer(answer, translated, streamed=False, refusal=_refused)


def _no_stream() -> NoReturn:
    raise UpstreamFailed("The model's server answered with a stream.", reason=Reason.UPSTREAM_INVALID)


def _refused(answer: Answer, notes: Headers) -> TranslatedAnswer:
    return refused(
        answer,
        translate_error(answer.status, answer.body),
        status=openai_status(answer.status, answer.body),
        retry_after_s=retry_delay_s(answer.body),
        notes=notes,
    )
