"""The protocols that the simulator speaks, and which request belongs to which."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["SSE_PROTOCOLS", "Endpoint", "Route", "UpstreamProtocol", "route"]


class UpstreamProtocol(StrEnum):
    """How a provider wants to be spoken to."""

    OPENAI = "openai"
    AZURE = "azure"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"


SSE_PROTOCOLS = frozenset(UpstreamProtocol) - {UpstreamProtocol.BEDROCK}


class Endpoint(StrEnum):
    """What a request wants."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    MODELS = "models"
    COUNT_TOKENS = "count_tokens"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes. `model` is "" and `streamed` None where the body says it."""

    protocol: UpstreamProtocol
    endpoint: Endpoint
    model: str = ""
    streamed: bool | None = None
    query: Mapping[str, str] | None = None


_OPENAI_POSTS = {
    "chat/completions": Endpoint.CHAT,
    "completions": Endpoint.COMPLETIONS,
    "embeddings": Endpoint.EMBEDDINGS,
}
_GEMINI_METHODS = {
    "generateContent": (Endpoint.CHAT, False),
    "streamGenerateContent": (Endpoint.CHAT, True),
    "countTokens": (Endpoint.COUNT_TOKENS, False),
}
_BEDROCK_METHODS = {"converse": False, "converse-stream": True}
_PLAIN_CHAT = Route(UpstreamProtocol.OPENAI, Endpoint.CHAT)


def route(method: str, target: str, headers: Mapping[str, str]) -> Route | None:
    """The route of a request; None: no protocol has it. Names of headers are in lower case."""
    if method == "POST" and target == "/v1/chat/completions":
        return _PLAIN_CHAT
    split = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    parts = split.path.strip("/").split("/")
    if method == "GET":
        return _listing(parts, headers)
    return _call(parts, query) if method == "POST" else None


def _call(parts: list[str], query: Mapping[str, str]) -> Route | None:  # noqa: PLR0911 - one line a path
    match parts:
        case ["openai", "v1", *rest]:
            return _openai(UpstreamProtocol.AZURE, rest)
        case ["openai", "deployments", deployment, *rest] if "api-version" in query:
            return _openai(UpstreamProtocol.AZURE, rest, unquote(deployment))
        case ["v1", "messages"]:
            return Route(UpstreamProtocol.ANTHROPIC, Endpoint.CHAT)
        case ["v1", "messages", "count_tokens"]:
            return Route(UpstreamProtocol.ANTHROPIC, Endpoint.COUNT_TOKENS)
        case ["v1beta" | "v1beta1" | "v1", "models", name]:
            return _gemini(name, query)
        case ["model", model, call] if call in _BEDROCK_METHODS:
            return Route(UpstreamProtocol.BEDROCK, Endpoint.CHAT, unquote(model), _BEDROCK_METHODS[call])
    return _openai(UpstreamProtocol.OPENAI, parts[1:]) if parts[0] == "v1" else None


def _openai(protocol: UpstreamProtocol, rest: list[str], model: str = "") -> Route | None:
    endpoint = _OPENAI_POSTS.get("/".join(rest))
    return Route(protocol, endpoint, model) if endpoint else None


def _gemini(name: str, query: Mapping[str, str]) -> Route | None:
    model, _, call = unquote(name).rpartition(":")
    if call not in _GEMINI_METHODS or not model:
        return None
    endpoint, streamed = _GEMINI_METHODS[call]
    return Route(UpstreamProtocol.GEMINI, endpoint, model, streamed, query)


def _listing(parts: list[str], headers: Mapping[str, str]) -> Route | None:
    match parts:
        case ["v1", "models"] if "anthropic-version" in headers:
            return Route(UpstreamProtocol.ANTHROPIC, Endpoint.MODELS)
        case ["v1", "models"]:
            return Route(UpstreamProtocol.OPENAI, Endpoint.MODELS)
        case ["openai", "v1", "models"] | ["openai", "models"]:
            return Route(UpstreamProtocol.AZURE, Endpoint.MODELS)
        case ["v1beta" | "v1beta1", "models"]:
            return Route(UpstreamProtocol.GEMINI, Endpoint.MODELS)
    return None
