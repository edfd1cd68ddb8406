"""Any server that speaks OpenAI's API: bodies go out and come back as they are."""

from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import urlsplit

from podium.core.errors import OperatorError
from podium.core.resources import Tls
from podium.upstreams.connection import Answer
from podium.upstreams.pool import Origin, Pool
from podium.upstreams.tls import tls_context

__all__ = ["PATHS", "Account", "OpenAiUpstream", "account_head", "origin_of"]

PATHS = {
    "chat.completions": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
}
_OURS = {"content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Account:
    """One provider as it is called: its connections, and the head that each request there has."""

    pool: Pool
    base_path: bytes
    head: bytes  # header lines, complete but for the request line and the content length
    total_s: float
    reports_stream_usage: bool


class OpenAiUpstream:
    """One model at one provider (podium.gateway.ports.Upstream)."""

    __slots__ = ("_heads", "_pool", "label", "model", "provider", "reports_stream_usage", "total_s")

    def __init__(self, provider: str, model: str, account: Account) -> None:
        self.provider = provider
        self.model = model
        self.label = f"{provider}/{model}"
        self.reports_stream_usage = account.reports_stream_usage
        self.total_s = account.total_s
        self._pool = account.pool
        self._heads = {
            endpoint: b"POST %b%b HTTP/1.1\r\n%b" % (account.base_path, path, account.head)
            for endpoint, path in PATHS.items()
        }

    def call(self, endpoint: str, body: bytes, *, headers: bytes, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream."""
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (self._heads[endpoint], headers, len(body), body)
        return self._pool.call(request, deadline_s=deadline_s)


def origin_of(base_url: str, tls: Tls) -> Origin:
    """Where a base URL points; OperatorError when it does not point anywhere, or its TLS files cannot be read."""
    if not base_url.isascii() or not base_url.isprintable() or set(base_url) & set(" ?#"):
        raise OperatorError(f"{base_url!r} holds characters that no base URL may hold.", hint="No `?`, `#` or blank.")
    try:
        parts = urlsplit(base_url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise OperatorError(f"{base_url!r} is not an http or https URL.") from None
    if not parts.hostname:
        raise OperatorError(f"{base_url!r} names no host.")
    return Origin(parts.hostname, port, tls_context(tls) if parts.scheme == "https" else None)


def account_head(base_url: str, *, api_key: str | None, headers: dict[str, str]) -> bytes:
    """The header lines of every request to a provider."""
    lines = {"host": urlsplit(base_url).netloc.rpartition("@")[2], "content-type": "application/json"}
    lines |= {"accept": "application/json, text/event-stream", "user-agent": "podium"}
    if api_key is not None:
        lines["authorization"] = f"Bearer {api_key}"
    lines |= {name.lower(): value for name, value in headers.items()}
    for name, value in lines.items():
        if name in _OURS:
            raise OperatorError(f"The header {name!r} cannot be set: Podium sets it itself.")
        if not _is_header(name, value):
            raise OperatorError(f"The header {name!r} holds characters that no header may hold.")
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1")


def _is_header(name: str, value: str) -> bool:
    token = bool(name) and all(character.isalnum() or character in "!#$%&'*+-.^_`|~" for character in name)
    return token and name.isascii() and all(" " <= character <= "\xff" and character != "\x7f" for character in value)
