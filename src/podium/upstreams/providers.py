"""The providers that a gateway calls, each with its connections; they outlive a change of the snapshot."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from podium.core.errors import OperatorError
from podium.core.resources import Provider, SecretRef
from podium.upstreams.local import LocalUpstream
from podium.upstreams.openai import Account, OpenAiUpstream, account_head, origin_of
from podium.upstreams.pool import Pool

__all__ = ["LocalWorkers", "Providers"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Where this machine's own workers listen."""

    urls: Mapping[str, str]  # model -> base URL without /v1
    api_key: str


class Providers:
    """Makes upstreams (podium.gateway.ports.UpstreamFactory). Belongs to one event loop."""

    def __init__(self, workers: LocalWorkers) -> None:
        self._workers = workers
        self._accounts: dict[tuple[str, bytes, str | None], Account] = {}
        self._used: set[tuple[str, bytes, str | None]] = set()

    def upstream(self, provider: str, spec: Provider, model: str) -> OpenAiUpstream | LocalUpstream | None:
        """The upstream for a model of a provider; None when it cannot be called, which is logged with the reason."""
        try:
            if spec.protocol == "local":
                return self._local(provider, spec, model)
            api_key = _read_secret(spec.api_key) if spec.api_key is not None else None
            return OpenAiUpstream(provider, model, self._account(provider, spec, spec.base_url, api_key))
        except OperatorError as error:
            log.warning("provider_unusable", provider=provider, model=model, error=error.message, hint=error.hint)
            return None

    def _local(self, provider: str, spec: Provider, model: str) -> LocalUpstream | None:
        url = self._workers.urls.get(model)
        if url is None:
            return None
        account = self._account(f"{provider}/{model}", spec, f"{url}/v1", self._workers.api_key)
        return LocalUpstream(OpenAiUpstream(provider, model, account))

    def _account(self, name: str, spec: Provider, base_url: str, api_key: str | None) -> Account:
        """The account for exactly this spec and secret; a change makes a new one, and the old one's calls finish."""
        key = (name, msgspec.msgpack.encode(spec), api_key)
        self._used.add(key)
        account = self._accounts.get(key)
        if account is None:
            timeouts = spec.timeouts
            origin = origin_of(base_url, spec.tls)
            pool = Pool(
                origin,
                connect_s=timeouts.connect_s,
                first_byte_s=timeouts.first_byte_s,
                between_bytes_s=timeouts.between_bytes_s,
                max_connections=spec.max_connections,
                # A worker closes its connection after a stream without saying so; the next call could still catch it.
                reuses_connections=spec.protocol != "local",
            )
            account = self._accounts[key] = Account(
                pool=pool,
                base_path=_base_path(base_url),
                head=account_head(base_url, api_key=api_key, headers=spec.headers),
                total_s=timeouts.total_s,
                reports_stream_usage=spec.report_stream_usage,
            )
        return account

    def retire_unused(self) -> None:
        """Retire the accounts that were not asked for since the last time; their running calls finish."""
        for key in self._accounts.keys() - self._used:
            self._accounts.pop(key).pool.retire()
        self._used.clear()

    def close(self) -> None:
        """Close every connection at once."""
        for account in self._accounts.values():
            account.pool.close()
        self._accounts.clear()

    @property
    def waiting_calls(self) -> int:
        """Calls that wait for a connection to any provider."""
        return sum(account.pool.waiting_calls for account in self._accounts.values())

    @property
    def open_connections(self) -> int:
        """To all providers together."""
        return sum(account.pool.open_connections for account in self._accounts.values())


def _base_path(base_url: str) -> bytes:
    _, _, rest = base_url.partition("://")
    _, slash, path = rest.partition("/")
    return (slash + path).rstrip("/").encode()


def _read_secret(reference: SecretRef) -> str:
    """The secret's value; OperatorError when it is missing or empty."""
    if reference.env is not None:
        value = os.environ.get(reference.env, "")
        where = f"environment variable {reference.env}"
    else:
        path = Path(reference.file or "")
        where = f"file {path}"
        try:
            value = path.read_text().strip()
        except OSError as error:
            raise OperatorError(f"The {where} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            raise OperatorError(f"The {where} holds no text.") from None
    if not value:
        raise OperatorError(f"The {where} is empty or missing.", hint="It holds the provider's API key.")
    return value
