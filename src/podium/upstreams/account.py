"""One provider as it is called: its connections, and the head that each request there has."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from podium.core.errors import InvalidRequest, OperatorError
from podium.core.reasons import Reason
from podium.core.resources import Tls
from podium.upstreams.aws_signature import Signer
from podium.upstreams.connection import Answer
from podium.upstreams.pool import Origin, Pool
from podium.upstreams.tls import tls_context
from podium.wire.translation import Unsupported

__all__ = ["Account", "AccountUpstream", "account_head", "endpoint_not_supported", "host_of", "origin_of"]

_OURS = {"content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Account:
    """A provider with one account on it."""

    pool: Pool
    base_path: bytes
    head: bytes  # header lines, complete but for the request line, a signature and the content length
    total_s: float
    reports_stream_usage: bool = True
    unsupported: Unsupported = "reject"
    default_max_tokens: int = 4096
    signer: Signer | None = None  # None: the head says who calls

    def request_head(self, path: bytes) -> bytes:
        """The head of each request to a path below the base URL."""
        return b"POST %b%b HTTP/1.1\r\n%b" % (self.base_path, path, self.head)

    def send(self, head: bytes, headers: bytes, body: bytes, deadline_s: float) -> Awaitable[Answer]:
        """One call with a head of `request_head` and further header lines."""
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (head, headers, len(body), body)
        return self.pool.call(request, deadline_s=deadline_s)


class AccountUpstream:
    """What all upstreams of an account have (podium.gateway.ports.Upstream, but for `call`)."""

    __slots__ = ("_account", "label", "model", "provider", "total_s")

    endpoints: ClassVar[frozenset[str]]

    def __init__(self, provider: str, model: str, account: Account) -> None:
        self._account = account
        self.provider = provider
        self.model = model
        self.label = f"{provider}/{model}"
        self.total_s = account.total_s


def endpoint_not_supported(endpoint: str, endpoints: frozenset[str]) -> InvalidRequest:
    """The error for a call that the protocol has nothing for."""
    return InvalidRequest(
        f"The model's provider does not serve {endpoint}; it serves {', '.join(sorted(endpoints))}.",
        reason=Reason.ENDPOINT_NOT_SUPPORTED,
        parameter="model",
    )


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


def host_of(base_url: str) -> str:
    """What the header `host` says: without user and password, with a port that is not usual."""
    return urlsplit(base_url).netloc.rpartition("@")[2]


def account_head(
    base_url: str,
    *,
    api_key: str | None,
    headers: Mapping[str, str],
    key_header: str = "authorization",
    fixed: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """The header lines of every request to a provider. `headers`, the operator's, go before all others."""
    lines = {"host": host_of(base_url), "content-type": "application/json"}
    lines |= {"accept": "application/json, text/event-stream", "user-agent": "podium"} | dict(fixed)
    if api_key is not None:
        lines[key_header] = f"Bearer {api_key}" if key_header == "authorization" else api_key
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
