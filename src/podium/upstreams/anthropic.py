"""Anthropic's Messages API: its own endpoint as it is, chats translated."""

import time
from collections.abc import Awaitable

from podium.core.ids import random_token
from podium.gateway.ports import Answer, Headers
from podium.upstreams.account import Account, AccountUpstream, endpoint_not_supported
from podium.upstreams.translated import TranslatedAnswer, refused, translated_answer, wants_stream
from podium.wire.anthropic.to_messages import API_VERSION, translate_request
from podium.wire.anthropic.upstream_errors import translate_error

__all__ = ["HEADERS", "KEY_HEADER", "AnthropicUpstream"]

KEY_HEADER = "x-api-key"
HEADERS = (("anthropic-version", API_VERSION),)
_CHAT = "chat.completions"
_MESSAGES = "messages"


class AnthropicUpstream(AccountUpstream):
    """One model of a provider that speaks Anthropic's protocol (podium.gateway.ports.Upstream)."""

    __slots__ = ("_head",)

    endpoints = frozenset((_CHAT, _MESSAGES))
    reports_stream_usage = True  # every stream of the protocol ends with it

    def __init__(self, provider: str, model: str, account: Account) -> None:
        super().__init__(provider, model, account)
        self._head = account.request_head(b"/messages")

    def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        InvalidRequest: there is no such endpoint, or the protocol cannot say what is asked.
        """
        if endpoint == _MESSAGES:
            return self._account.send(self._head, headers, body, deadline_s)
        if endpoint == _CHAT:
            return self._chat(body, headers, deadline_s)
        raise endpoint_not_supported(endpoint, self.endpoints)

    async def _chat(self, body: bytes, headers: Headers, deadline_s: float) -> Answer:
        account = self._account
        translated = translate_request(
            body,
            unsupported=account.unsupported,
            default_max_tokens=account.default_max_tokens,
            created_unix_s=int(time.time()),
            fallback_id="chatcmpl-" + random_token(24),
        )
        answer = await account.send(self._head, headers, translated.body, deadline_s)
        return translated_answer(answer, translated, streamed=wants_stream(body), refusal=_refused)


def _refused(answer: Answer, notes: Headers) -> TranslatedAnswer:
    return refused(answer, translate_error(answer.status, answer.body), notes=notes)
