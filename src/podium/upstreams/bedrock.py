"""AWS Bedrock's Converse API: the model stands in the path, calls are signed or carry an API key."""

import asyncio
import time
from collections.abc import Awaitable

from podium.core.errors import UpstreamTimeout
from podium.core.ids import random_token
from podium.core.reasons import Reason
from podium.gateway.ports import Answer, Headers
from podium.upstreams.account import Account, AccountUpstream, endpoint_not_supported
from podium.upstreams.aws_signature import (
    ApiKey,
    AwsCredentials,
    AwsSigner,
    ChainCredentials,
    Signer,
    StaticCredentials,
    region_of,
)
from podium.upstreams.secrets import Secrets
from podium.upstreams.translated import TranslatedAnswer, refused, translated_answer, wants_stream
from podium.wire.bedrock.errors import caller_status, translate_error
from podium.wire.bedrock.requests import path_of, translate_request

__all__ = ["HEADERS", "BedrockUpstream", "signer_for"]

HEADERS = (("accept", "*/*"),)  # an answer is JSON or Amazon's event stream
_CHAT = "chat.completions"


class BedrockUpstream(AccountUpstream):
    """One model behind Bedrock (podium.gateway.ports.Upstream). Its name is an id, an inference profile, or an ARN."""

    __slots__ = ("_stream", "_whole")

    endpoints = frozenset((_CHAT,))
    reports_stream_usage = True  # every stream of the protocol ends with it

    def __init__(self, provider: str, model: str, account: Account) -> None:
        super().__init__(provider, model, account)
        whole, stream = path_of(model, stream=False), path_of(model, stream=True)
        self._whole = account.base_path + whole, account.request_head(whole)
        self._stream = account.base_path + stream, account.request_head(stream)

    def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        InvalidRequest: there is no such endpoint, or the protocol cannot say what is asked.
        """
        if endpoint != _CHAT:
            raise endpoint_not_supported(endpoint, self.endpoints)
        return self._chat(body, headers, deadline_s)

    async def _chat(self, body: bytes, headers: Headers, deadline_s: float) -> Answer:
        account = self._account
        translated = translate_request(
            body,
            unsupported=account.unsupported,
            model=self.model,
            created_unix_s=int(time.time()),
            fallback_id="chatcmpl-" + random_token(24),
        )
        streamed = wants_stream(body)
        path, head = self._stream if streamed else self._whole
        if account.signer is not None:
            headers += await _signature(account.signer, path, translated.body, deadline_s)
        answer = await account.send(head, headers, translated.body, deadline_s)
        return translated_answer(answer, translated, streamed=streamed, refusal=_refused)


async def _signature(signer: Signer, path: bytes, body: bytes, deadline_s: float) -> Headers:
    try:
        async with asyncio.timeout_at(deadline_s):
            await signer.ready()
    except TimeoutError:
        message = "The credentials for AWS did not come in time."
        raise UpstreamTimeout(message, reason=Reason.UPSTREAM_UNREACHABLE) from None  # nothing was sent
    return signer.headers("POST", path, body, time.time())


def _refused(answer: Answer, notes: Headers) -> TranslatedAnswer:
    kind = answer.headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    return refused(
        answer,
        translate_error(answer.status, answer.body, kind),
        status=caller_status(answer.status),
        notes=notes,
    )


def signer_for(host: str, region: str | None, secrets: Secrets) -> Signer | None:
    """How calls to `host` prove who makes them; None: not at all, which is for a server of one's own.

    An API key goes before keys for signatures; without either, AWS's usual sources are asked for such keys, where a
    region is known. OperatorError: a signature needs the extra `podium[bedrock]`.
    """
    if secrets.api_key is not None:
        return ApiKey(secrets.api_key)
    region = region or region_of(host)
    if region is None:
        return None
    credentials: AwsCredentials
    if secrets.aws_access_key_id is not None and secrets.aws_secret_access_key is not None:
        credentials = StaticCredentials(
            secrets.aws_access_key_id, secrets.aws_secret_access_key, secrets.aws_session_token
        )
    else:
        credentials = ChainCredentials()
    return AwsSigner(host, region, credentials)
