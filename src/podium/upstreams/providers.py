"""The providers that a gateway calls, each with its connections; they outlive a change of the snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import structlog

from podium.core.errors import OperatorError
from podium.core.registry import is_worker_name
from podium.core.resources import Provider
from podium.gateway.ports import Upstream
from podium.upstreams import anthropic, bedrock, gemini
from podium.upstreams.account import Account, account_head, host_of, origin_of
from podium.upstreams.local import LocalUpstream
from podium.upstreams.messages import MessagesOverChat
from podium.upstreams.on_demand import OnDemandUpstream
from podium.upstreams.openai import OpenAiUpstream
from podium.upstreams.pool import Pool
from podium.upstreams.presets import adapter_for, base_url_of, paths_for, service_of
from podium.upstreams.registered import RegisteredWorkers
from podium.upstreams.secrets import Secrets, read_secrets

__all__ = ["LocalWorkers", "Providers"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Where this machine's own workers listen."""

    urls: Mapping[str, str]  # model -> base URL without /v1
    api_key: str
    registered: RegisteredWorkers | None = None  # workers of registered versions, which come and go


class _Key(NamedTuple):
    """What an account is made from; a change of any of it makes a new one."""

    name: str
    spec: bytes
    secrets: Secrets


class Providers:
    """Makes upstreams (podium.gateway.ports.UpstreamFactory). Belongs to one event loop."""

    def __init__(self, workers: LocalWorkers) -> None:
        self._workers = workers
        self._accounts: dict[_Key, Account] = {}
        self._on_demand: dict[_Key, OnDemandUpstream] = {}
        self._used: set[_Key] = set()
        self.unusable: Mapping[str, str] = {}  # of the providers in use, those that cannot be called, and why
        self._refused: dict[str, str] = {}  # the same, being collected

    def upstream(self, provider: str, spec: Provider, model: str) -> Upstream | None:
        """The upstream for a model of a provider; None when it cannot be called, which is logged with the reason."""
        try:
            if spec.protocol == "local":
                return self._local(provider, spec, model)
            account = self._account(provider, spec, base_url_of(spec), read_secrets(spec))
        except OperatorError as error:
            self._refused[provider] = error.message
            log.warning("provider_unusable", provider=provider, model=model, error=error.message, hint=error.hint)
            return None
        return _upstream(provider, spec, model, account)

    def _local(self, provider: str, spec: Provider, model: str) -> Upstream | None:
        url = self._workers.urls.get(model)
        if url is None:
            return self._registered(provider, spec, model)
        account = self._account(f"{provider}/{model}", spec, f"{url}/v1", Secrets(self._workers.api_key))
        local = LocalUpstream(OpenAiUpstream(provider, model, account))
        return MessagesOverChat(local, unsupported=spec.unsupported, top_k=True)

    def _registered(self, provider: str, spec: Provider, model: str) -> Upstream | None:
        """A worker that is loaded when somebody calls it; where it listens is known by then."""
        workers = self._workers.registered
        if workers is None or not is_worker_name(model):
            return None
        key = _Key(f"{provider}/{model}", msgspec.msgpack.encode(spec), Secrets(self._workers.api_key))
        self._used.add(key)
        upstream = self._on_demand.get(key)
        if upstream is None:

            def open_at(url: str) -> Account:
                return _open(spec, f"{url}/v1", Secrets(self._workers.api_key))

            upstream = OnDemandUpstream(provider, model, workers, open_at, total_s=spec.timeouts.total_s)
            self._on_demand[key] = upstream
        return MessagesOverChat(LocalUpstream(upstream), unsupported=spec.unsupported, top_k=True)

    def _account(self, name: str, spec: Provider, base_url: str, secrets: Secrets) -> Account:
        """The account for exactly this spec and secrets; a change makes a new one, and the old one's calls finish."""
        key = _Key(name, msgspec.msgpack.encode(spec), secrets)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _open(spec, base_url, secrets)
        self._used.add(key)
        return account

    def retire_unused(self) -> None:
        """Retire the accounts that were not asked for since the last time; their running calls finish.

        What could not be called since then is `unusable` from now on.
        """
        for key in self._accounts.keys() - self._used:
            self._accounts.pop(key).pool.retire()
        for key in self._on_demand.keys() - self._used:
            self._on_demand.pop(key).retire()
        self._used.clear()
        self.unusable, self._refused = self._refused, {}

    def close(self) -> None:
        """Close every connection at once."""
        for account in self._accounts.values():
            account.pool.close()
        self._accounts.clear()
        for upstream in self._on_demand.values():
            upstream.close()
        self._on_demand.clear()

    @property
    def waiting_calls(self) -> int:
        """Calls that wait for a connection to any provider."""
        return sum(account.pool.waiting_calls for account in self._accounts.values())

    @property
    def open_connections(self) -> int:
        """To all providers together."""
        return sum(account.pool.open_connections for account in self._accounts.values())


def _upstream(provider: str, spec: Provider, model: str, account: Account) -> Upstream:
    if spec.protocol == "anthropic":
        return anthropic.AnthropicUpstream(provider, model, account)
    if spec.protocol == "gemini":
        google = gemini.GeminiUpstream(provider, model, account)
        return MessagesOverChat(google, unsupported=spec.unsupported, top_k=True)
    if spec.protocol == "bedrock":
        aws = bedrock.BedrockUpstream(provider, model, account)
        return MessagesOverChat(aws, unsupported=spec.unsupported, cache_marks=True, top_k=True)
    chat = OpenAiUpstream(provider, model, account, paths=paths_for(spec, model), adapter=adapter_for(spec))
    service = service_of(spec)
    return MessagesOverChat(
        chat, unsupported=spec.unsupported, limit_field=service.limit_field, top_k=service.knows_top_k
    )


def _open(spec: Provider, base_url: str, secrets: Secrets) -> Account:
    """A new account; OperatorError when the spec or a secret cannot be used."""
    timeouts, service = spec.timeouts, service_of(spec)
    origin = origin_of(base_url, spec.tls)
    head = _head(spec, base_url, secrets.api_key)
    signer = None
    if spec.protocol == "bedrock":
        signer = bedrock.signer_for(host_of(base_url), spec.aws.region if spec.aws is not None else None, secrets)
    pool = Pool(
        origin,
        connect_s=timeouts.connect_s,
        first_byte_s=timeouts.first_byte_s,
        between_bytes_s=timeouts.between_bytes_s,
        max_connections=spec.max_connections,
        # A worker closes its connection after a stream without saying so; the next call could still catch it.
        reuses_connections=spec.protocol != "local",
    )
    return Account(
        pool=pool,
        base_path=_base_path(base_url),
        head=head,
        total_s=timeouts.total_s,
        reports_stream_usage=spec.report_stream_usage and service.knows_stream_options,
        unsupported=spec.unsupported,
        default_max_tokens=spec.default_max_tokens,
        signer=signer,
    )


def _head(spec: Provider, base_url: str, api_key: str | None) -> bytes:
    """The head of all requests, with the key where the protocol wants it."""
    key_header = service_of(spec).key_header
    fixed: tuple[tuple[str, str], ...] = ()
    if spec.protocol == "anthropic":
        key_header, fixed = anthropic.KEY_HEADER, anthropic.HEADERS
    elif spec.protocol == "gemini":
        key_header = gemini.KEY_HEADER
    elif spec.protocol == "bedrock":
        fixed, api_key = bedrock.HEADERS, None  # the signer says who calls
    return account_head(base_url, api_key=api_key, headers=spec.headers, key_header=key_header, fixed=fixed)


def _base_path(base_url: str) -> bytes:
    _, _, rest = base_url.partition("://")
    _, slash, path = rest.partition("/")
    return (slash + path).rstrip("/").encode()
