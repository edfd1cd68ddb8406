"""From a request to its answer, by protocol and endpoint."""

from collections.abc import Mapping

from podium.testing.upstream.anthropic_requests import read_anthropic
from podium.testing.upstream.anthropic_speech import anthropic_message, anthropic_models, anthropic_token_count
from podium.testing.upstream.bedrock_requests import read_bedrock
from podium.testing.upstream.bedrock_speech import bedrock_message, bedrock_refusal
from podium.testing.upstream.behaviours import Trouble
from podium.testing.upstream.errors import error_answer
from podium.testing.upstream.gemini_requests import read_gemini
from podium.testing.upstream.gemini_speech import gemini_content, gemini_models, gemini_refusal, gemini_token_count
from podium.testing.upstream.openai_requests import read_openai
from podium.testing.upstream.openai_speech import openai_chat, openai_completion, openai_embeddings, openai_models
from podium.testing.upstream.protocols import Endpoint, Route, UpstreamProtocol
from podium.testing.upstream.refusals import json_type_checked
from podium.testing.upstream.speech import Asked, Speech
from podium.testing.upstream.wire import Answer

__all__ = ["answer_of", "read"]


def read(where: Route, headers: Mapping[str, str], body: bytes) -> Asked:
    """What a request asks for; Refused."""
    if where.endpoint is Endpoint.MODELS:
        return Asked(model=where.model)
    json_type_checked(headers.get("content-type"))
    streamed, counting = bool(where.streamed), where.endpoint is Endpoint.COUNT_TOKENS
    match where.protocol:
        case UpstreamProtocol.ANTHROPIC:
            return read_anthropic(body, counting=counting)
        case UpstreamProtocol.GEMINI:
            return read_gemini(body, where.model, streamed=streamed, counting=counting)
        case UpstreamProtocol.BEDROCK:
            return read_bedrock(body, where.model, streamed=streamed)
    return read_openai(where.endpoint, body, where.model)


def answer_of(
    where: Route,
    asked: Asked,
    speech: Speech,
    trouble: Trouble | None,
    retry_after_s: int | None,
    models: tuple[str, ...],
) -> Answer:
    """The answer that is meant: an error, a list, or what is said."""
    if trouble is not None:
        return _troubled(where.protocol, asked, speech, trouble, retry_after_s)
    match where.protocol:
        case UpstreamProtocol.ANTHROPIC:
            return _anthropic(where.endpoint, asked, speech, models)
        case UpstreamProtocol.GEMINI:
            return _gemini(where, asked, speech, models)
        case UpstreamProtocol.BEDROCK:
            return bedrock_message(asked, speech)
    return _openai(where, asked, speech, models)


def _troubled(
    protocol: UpstreamProtocol, asked: Asked, speech: Speech, trouble: Trouble, retry_after_s: int | None
) -> Answer:
    """An error, or the good answer in which a provider says that it does not answer."""
    if trouble is Trouble.CONTENT_REFUSED and protocol is UpstreamProtocol.GEMINI:
        return gemini_refusal(asked, speech)
    if trouble is Trouble.CONTENT_REFUSED and protocol is UpstreamProtocol.BEDROCK:
        return bedrock_refusal(asked, speech)
    return error_answer(protocol, trouble, model=asked.model, retry_after_s=retry_after_s)


def _openai(where: Route, asked: Asked, speech: Speech, models: tuple[str, ...]) -> Answer:
    match where.endpoint:
        case Endpoint.MODELS:
            return openai_models(models)
        case Endpoint.EMBEDDINGS:
            return openai_embeddings(asked, speech)
        case Endpoint.COMPLETIONS:
            return openai_completion(asked, speech)
    return openai_chat(asked, speech, azure=where.protocol is UpstreamProtocol.AZURE)


def _anthropic(endpoint: Endpoint, asked: Asked, speech: Speech, models: tuple[str, ...]) -> Answer:
    match endpoint:
        case Endpoint.MODELS:
            return anthropic_models(models)
        case Endpoint.COUNT_TOKENS:
            return anthropic_token_count(speech)
    return anthropic_message(asked, speech)


def _gemini(where: Route, asked: Asked, speech: Speech, models: tuple[str, ...]) -> Answer:
    match where.endpoint:
        case Endpoint.MODELS:
            return gemini_models(models)
        case Endpoint.COUNT_TOKENS:
            return gemini_token_count(speech)
    return gemini_content(asked, speech, sse=(where.query or {}).get("alt") == "sse")
