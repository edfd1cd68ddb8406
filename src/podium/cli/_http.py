"""Calls to a running Podium: one client, and one sentence for each way in which a call can fail."""

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from podium.core.errors import OperatorError, PodiumError

if TYPE_CHECKING:
    import httpx

    from podium.cli._error_answer import ErrorDetail, Problem

__all__ = ["Peer", "Refused", "checked_url", "is_loopback", "local_url", "open_client", "refusal", "translated"]

_LONGEST_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is called, for messages: "the gateway", its address, what starts it."""

    name: str
    url: str
    start: str


class Refused(OperatorError):
    """The peer answered with an error; `code` is its stable word."""

    def __init__(self, message: str, *, code: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def local_url(host: str, port: int) -> str:
    """The address under which a process on this machine that listens on `host` is called."""
    if host in ("", "0.0.0.0"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def checked_url(url: str, suffix: str) -> str:
    """The address without a slash or `suffix` at its end; OperatorError when it is none."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise OperatorError(f"{url!r} is not an http:// or https:// address.")
    return url.rstrip("/").removesuffix(suffix)


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine: no proxy stands before it, and the local admin key may go there."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_client(peer: Peer, key: str | None, *, read_timeout_s: float = 30.0) -> "httpx.Client":
    """A client with the key as bearer token and a limit on every wait; the caller closes it."""
    import httpx  # noqa: PLC0415 - takes time, and most commands need none

    from podium import __version__  # noqa: PLC0415

    headers = {"user-agent": f"podium-cli/{__version__}"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    try:
        return httpx.Client(
            base_url=peer.url,
            headers=headers,
            timeout=httpx.Timeout(read_timeout_s, connect=5.0),
            trust_env=not is_loopback(peer.url),
            # Without TLS there is nothing to verify, and loading the certificates takes 50 ms.
            verify=urlsplit(peer.url).scheme == "https",
        )
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise OperatorError(f"Cannot call {peer.name} at {peer.url!r}: {error}") from None


def translated(error: "httpx.TransportError", peer: Peer) -> PodiumError:
    """What a failed call means to the operator."""
    import httpx  # noqa: PLC0415

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return OperatorError(f"{peer.name} does not answer at {peer.url}.", hint=peer.start)
    if isinstance(error, httpx.TimeoutException):
        return OperatorError(
            f"{peer.name} at {peer.url} did not answer in time.", hint="Try again; `podium doctor` looks for the cause."
        )
    return OperatorError(f"The call of {peer.name} at {peer.url} broke off: {error}", hint="Try again.")


def refusal(status: int, body: bytes, peer: Peer) -> Refused:
    """What an error answer says: OpenAI's form of the gateway, or the admin API's, which may list several problems."""
    detail = _detail(body)
    message = detail.message[:_LONGEST_MESSAGE]
    if detail.problems:
        message = "\n".join(map(_problem, detail.problems))
    if not message:
        message = f"{peer.name} at {peer.url} answered with status {status} and nothing that Podium would say."
    return Refused(message, code=detail.code or detail.reason, hint=detail.hint or _hint(status))


def _detail(body: bytes) -> "ErrorDetail":
    import msgspec  # noqa: PLC0415 - only where used

    from podium.cli._error_answer import ErrorAnswer, ErrorDetail  # noqa: PLC0415

    try:
        return msgspec.json.decode(body, type=ErrorAnswer).error
    except msgspec.MsgspecError:
        return ErrorDetail()


def _problem(problem: "Problem") -> str:
    subject = f"{problem.kind}/{problem.name}" if problem.kind and problem.name else problem.kind or problem.name
    return ": ".join(part for part in (subject, problem.path, problem.message) if part)


def _hint(status: int) -> str:
    if status in (401, 403):
        return (
            "Name a key with --api-key or PODIUM_API_KEY; the first admin key is in the file admin.key"
            " of the data folder."
        )
    return ""
