"""Who calls AWS: Signature Version 4 by botocore, and Bedrock's API keys, which need no signature.

botocore comes with the extra `podium[bedrock]` and is loaded when the first signer is made: 0.2 s and 25 MB.
Signing never waits. Credentials that expire are fetched in a thread (a metadata service, a process or a file answers
as slowly as it likes): the first time a call waits for them, later they are renewed before they expire while calls go
on with those that are still good.
"""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from podium.core.errors import OperatorError, UpstreamFailed, UpstreamTimeout
from podium.gateway.ports import Headers

__all__ = [
    "ApiKey",
    "AwsCredentials",
    "AwsKeys",
    "AwsSigner",
    "ChainCredentials",
    "Signer",
    "StaticCredentials",
    "region_of",
]

log = structlog.get_logger(__name__)

_WAIT_S = 10.0  # for credentials, when there are none that are good
_PAUSE_S = 15.0  # between two attempts to fetch credentials
_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class Signer(Protocol):
    """Proves to a provider who calls."""

    async def ready(self) -> None:
        """Wait until `headers` can be called, if waiting helps; UpstreamTimeout: it took too long."""

    def headers(self, method: str, path: bytes, body: bytes, unix_s: float) -> Headers:
        """The header lines that a request needs. `path` is the URL's, encoded, without a query.

        UpstreamFailed: there are no credentials.
        """


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What a signature is made with. OperatorError: a part is missing, or no header may hold it."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.access_key or not self.secret_key:
            raise OperatorError("The AWS credentials are incomplete.")
        for part in (self.access_key, self.token or ""):
            if not part.isascii() or not part.isprintable() or " " in part:
                raise OperatorError("The AWS credentials hold characters that no header may hold.")


class AwsCredentials(Protocol):
    """Where keys come from."""

    @property
    def keys(self) -> AwsKeys:
        """The keys to sign with now; UpstreamFailed: there are none."""

    async def ready(self) -> None:
        """Wait until there are keys, if waiting helps; UpstreamTimeout: it took too long."""


class StaticCredentials:
    """Keys that the operator gave (AwsCredentials)."""

    def __init__(self, access_key: str, secret_key: str, session_token: str | None = None) -> None:
        self.keys = AwsKeys(access_key, secret_key, session_token)

    async def ready(self) -> None:
        """They always are."""


class ChainCredentials:
    """Keys from where Amazon's clients look for them: environment, files, a container's or an instance's role, ...

    Belongs to one event loop (AwsCredentials).
    """

    def __init__(self, profile: str | None = None, *, wait_s: float = _WAIT_S, pause_s: float = _PAUSE_S) -> None:
        _load()
        self._profile = profile
        self._wait_s = wait_s
        self._pause_s = pause_s
        self._source: Any = None  # botocore's credentials, which know when they expire and how to renew themselves
        self._keys: AwsKeys | None = None
        self._fetching: asyncio.Future[AwsKeys] | None = None
        self._not_before_s = 0.0  # on the loop's clock
        self._failure = ""

    @property
    def keys(self) -> AwsKeys:
        """The keys to sign with now; UpstreamFailed: there are none, or they have expired."""
        if self._keys is None or self._renewable(within_s=0):
            raise UpstreamFailed("There are no credentials for AWS.", hint=self._failure)
        return self._keys

    async def ready(self) -> None:
        """Wait until there are keys; while there are good ones, only begin to renew those that will expire."""
        if self._keys is not None and not self._renewable():
            return
        loop = asyncio.get_running_loop()
        if self._fetching is None and loop.time() >= self._not_before_s:
            self._fetching = loop.run_in_executor(None, self._fetch)
            self._fetching.add_done_callback(self._fetched)
        if self._fetching is None or (self._keys is not None and not self._renewable(within_s=0)):
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await asyncio.wait((self._fetching,))
        except TimeoutError:
            raise UpstreamTimeout("The credentials for AWS did not come in time.") from None

    def _renewable(self, within_s: int | None = None) -> bool:
        """True when the keys expire within this time; None: botocore's own idea of soon, 15 minutes."""
        needed = getattr(self._source, "refresh_needed", None)  # keys from the environment or a file have none
        return needed is not None and bool(needed(within_s))

    def _fetch(self) -> AwsKeys:
        """In a thread: look for keys, or renew them."""
        from botocore.session import Session  # noqa: PLC0415 - an extra, and heavy

        if self._source is None:
            self._source = Session(profile=self._profile).get_credentials()
        if self._source is None:
            raise OperatorError("No credentials for AWS were found.")
        frozen = self._source.get_frozen_credentials()
        return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token)

    def _fetched(self, future: "asyncio.Future[AwsKeys]") -> None:
        self._fetching = None
        self._not_before_s = future.get_loop().time() + self._pause_s
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._keys, self._failure = future.result(), ""
        else:  # the words of foreign errors may hold a secret
            self._failure = error.message if isinstance(error, OperatorError) else type(error).__name__
            log.warning("aws_credentials_unavailable", error=self._failure)


class AwsSigner:
    """Signs requests to one host (Signer). `host` is what the header `host` says, with a port that is not usual."""

    def __init__(self, host: str, region: str, credentials: AwsCredentials, *, service: str = "bedrock") -> None:
        self._request, self._auth = _load()
        self._host = host
        self._region = region
        self._service = service
        self._credentials = credentials

    async def ready(self) -> None:
        """Wait until there are keys, if waiting helps; UpstreamTimeout: it took too long."""
        await self._credentials.ready()

    def headers(self, method: str, path: bytes, body: bytes, unix_s: float) -> Headers:
        """The lines x-amz-date, authorization and, with temporary keys, x-amz-security-token.

        UpstreamFailed: there are no keys, or they have expired.
        """
        keys = self._credentials.keys
        date = datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        lines = {"x-amz-date": date}
        if keys.token is not None:
            lines["x-amz-security-token"] = keys.token
        request = self._request(
            method=method, url=f"https://{self._host}{path.decode()}", data=body, headers={"host": self._host} | lines
        )
        request.context["timestamp"] = date
        auth = self._auth(keys, self._service, self._region)
        # What add_auth does, but with the given time, and without a log of what was signed.
        text = auth.string_to_sign(request, auth.canonical_request(request))
        lines["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, "
            f"SignedHeaders={auth.signed_headers(auth.headers_to_sign(request))}, "
            f"Signature={auth.signature(text, request)}"
        )
        return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()


class ApiKey:
    """Bedrock's own API keys, which are bearer tokens (Signer)."""

    def __init__(self, api_key: str) -> None:
        if not api_key.isascii() or not api_key.isprintable() or not api_key or " " in api_key:
            raise OperatorError("The API key holds characters that no header may hold.")
        self._lines = f"authorization: Bearer {api_key}\r\n".encode()

    async def ready(self) -> None:
        """It always is."""

    def headers(self, method: str, path: bytes, body: bytes, unix_s: float) -> Headers:  # noqa: ARG002 - see Signer
        """The line authorization."""
        return self._lines


def region_of(host: str) -> str | None:
    """The region that Bedrock's host names (bedrock-runtime.eu-west-1.amazonaws.com); None when it names none."""
    found = _REGION.search(host.lower())
    return found[1] if found is not None else None


def _load() -> tuple[Any, Any]:
    """The request and the signer of botocore; OperatorError: the extra is not installed."""
    try:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - an extra, and heavy
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - an extra, and heavy
    except ImportError:
        raise OperatorError("botocore is not installed.", hint="Install podium[bedrock].") from None
    return AWSRequest, SigV4Auth
