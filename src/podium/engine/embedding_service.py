"""The HTTP face of the embedding worker, as an RSGI application."""

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from podium.core.errors import (
    ClientGone,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PodiumError,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
)
from podium.core.reasons import Reason
from podium.engine.embedding_batcher import Batcher
from podium.engine.embedding_requests import decode_request, encode_error, encode_models, encode_response

if TYPE_CHECKING:
    from podium.engine.embedding_model import EmbeddingModel
    from podium.engine.settings import EngineSettings

__all__ = ["EmbeddingService"]

_LOG = logging.getLogger(__name__)
_MAX_BODY_BYTES = 16 * 1024 * 1024
_JSON = ("content-type", "application/json")
_Result = TypeVar("_Result")


class EmbeddingService:
    """Answers requests for one model. `run` must run as a task of the owner."""

    def __init__(self, name: str, model: "EmbeddingModel", *, api_key: str, settings: "EngineSettings") -> None:
        self._name = name
        self._model = model
        self._bearer = f"Bearer {api_key}".encode()
        self._batcher = Batcher(
            model.embed, batch_texts=settings.embedding_batch_texts, queue_texts=settings.embedding_queue_texts
        )
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._created = int(time.time())
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._draining = False
        self._routes: dict[str, tuple[str, Callable[[Any, Any], Awaitable[bytes]]]] = {
            "/v1/embeddings": ("POST", self._embeddings),
            "/v1/models": ("GET", self._models),
        }

    async def run(self) -> None:
        """Compute for ever."""
        try:
            await self._batcher.run()
        finally:
            self._tokenizing.shutdown(wait=False, cancel_futures=True)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, and return when the running ones are answered or the time is over."""
        self._draining = True
        if self._in_flight:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.path == "/health":
            status = 503 if self._draining else 200
            protocol.response_bytes(status, [_JSON], b'{"status":"draining"}' if self._draining else b'{"status":"ok"}')
            return
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._answer(scope, protocol)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def _answer(self, scope: Any, protocol: Any) -> None:
        try:
            body = await self._routed(scope, protocol)
        except PodiumError as error:
            headers = [_JSON]
            if error.retry_after_s is not None:
                headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
            protocol.response_bytes(error.status, headers, encode_error(error))
        except Exception:  # noqa: BLE001 - the task boundary: a bug in one request is that request's 500
            _LOG.exception("an embedding request failed")
            protocol.response_bytes(500, [_JSON], encode_error(InternalError("The embedding model failed.")))
        else:
            protocol.response_bytes(200, [_JSON], body)

    async def _routed(self, scope: Any, protocol: Any) -> bytes:
        if not hmac.compare_digest((scope.headers.get("authorization") or "").encode(), self._bearer):
            raise Unauthenticated("The API key of the worker is wrong.")
        if self._draining:
            raise Unavailable("The worker is stopping.", reason=Reason.DRAINING, retry_after_s=1.0)
        if (route := self._routes.get(scope.path)) is None:
            raise NotFound(f"There is no {scope.method} {scope.path}.")
        method, handle = route
        if scope.method != method:
            raise MethodNotAllowed(f"{scope.path} answers {method}.", allowed=(method,))
        return await handle(scope, protocol)

    async def _models(self, _scope: Any, _protocol: Any) -> bytes:
        return encode_models(self._name, self._created)

    async def _embeddings(self, scope: Any, protocol: Any) -> bytes:
        loop = asyncio.get_running_loop()
        body = await _read_body(scope, protocol)
        request = decode_request(body, dimensions=self._model.dimensions)
        token_ids = await loop.run_in_executor(self._tokenizing, self._model.tokenize, request.texts)
        self._check_lengths(token_ids)
        vectors = await _unless_gone(protocol, self._batcher.embed(token_ids))
        tokens = sum(map(len, token_ids))
        return encode_response(request, vectors, model=self._name, tokens=tokens)

    def _check_lengths(self, token_ids: list[list[int]]) -> None:
        """Too long is an error, never a silent cut: half a text has another meaning."""
        limit = self._model.max_tokens
        for index, tokens in enumerate(token_ids):
            if len(tokens) > limit:
                raise InvalidRequest(
                    f"This model's maximum context length is {limit} tokens, but the text at index {index}"
                    f" has {len(tokens)}. Please send shorter texts.",
                    parameter="input",
                )


async def _read_body(scope: Any, protocol: Any) -> bytes:
    declared = scope.headers.get("content-length") or "0"
    if declared.isdigit() and int(declared) > _MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {_MAX_BODY_BYTES} bytes.")


async def _unless_gone(protocol: Any, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of `work`, which is cancelled when the client goes away first."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(protocol.client_disconnect())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("The client went away.")
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.wait((working, gone))
