"""What an operator declares: kinds, names and typed specs.

Every change of a resource is a revision with an author, a diff and a way back. Field comments are the
option's documentation: docs/reference/resources.md is generated from the `Meta` descriptions here.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

__all__ = [
    "SPECS",
    "BackendSpec",
    "Kind",
    "LimitPolicy",
    "Model",
    "Price",
    "Provider",
    "Resource",
    "SecretRef",
    "Spec",
    "Tenant",
    "Timeouts",
    "Tls",
    "Version",
    "spec_from_builtins",
]

Kind = Literal["Tenant", "Provider", "Model", "Version", "LimitPolicy", "Price"]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Usd = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?\Z")]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An unknown field is an error, never ignored."""


class SecretRef(_Strict, frozen=True, kw_only=True):
    """Where a secret is; the value itself is never in a resource. Exactly one of the two is set."""

    env: Annotated[str | None, Meta(description="Environment variable of the gateway process.")] = None
    file: Annotated[str | None, Meta(description="File that the gateway process can read.")] = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("name exactly one of `env` and `file`")


class Timeouts(_Strict, frozen=True, kw_only=True):
    """How long each part of an upstream call may take."""

    connect_s: Annotated[Seconds, Meta(description="TCP and TLS set-up.")] = 5.0
    first_byte_s: Annotated[Seconds, Meta(description="From the request to the head of the answer.")] = 300.0
    between_bytes_s: Annotated[Seconds, Meta(description="Silence inside an answer.")] = 60.0
    total_s: Annotated[Seconds, Meta(description="The whole exchange, all attempts together.")] = 900.0


class Tls(_Strict, frozen=True, kw_only=True):
    """How an https upstream is verified."""

    ca_file: Annotated[str | None, Meta(description="PEM bundle instead of the system's.")] = None
    certificate_file: Annotated[str | None, Meta(description="Client certificate (PEM).")] = None
    key_file: Annotated[str | None, Meta(description="Client key (PEM).")] = None
    verify: Annotated[bool, Meta(description="False accepts any certificate; for tests only.")] = True


class Tenant(_Strict, frozen=True, kw_only=True):
    """A customer: whose keys, limits and costs belong together."""

    display_name: Annotated[str, Meta(description="For people.", max_length=200)] = ""
    suspended: Annotated[bool, Meta(description="All of the tenant's keys are refused.")] = False
    models: Annotated[
        tuple[str, ...], Meta(description="Models the tenant may use; `*` matches any run of characters.")
    ] = ("*",)


class Provider(_Strict, frozen=True, kw_only=True):
    """A place that answers model calls, with one account on it."""

    protocol: Annotated[Literal["openai", "local"], Meta(description="Wire protocol; `local`: our own workers.")]
    base_url: Annotated[
        str, Meta(description="Up to and including the version, e.g. `https://api.openai.com/v1`. Not for `local`.")
    ] = ""
    api_key: Annotated[SecretRef | None, Meta(description="Sent as a bearer token.")] = None
    headers: Annotated[dict[str, str], Meta(description="Further headers on each call.")] = {}
    timeouts: Annotated[Timeouts, Meta(description="Limits in time.")] = Timeouts()
    tls: Annotated[Tls, Meta(description="Limits of trust.")] = Tls()
    max_connections: Annotated[int, Meta(description="Open connections per gateway.", ge=1, le=65_536)] = 4096
    report_stream_usage: Annotated[
        bool,
        Meta(
            description="Ask for usage on every stream (`stream_options.include_usage`) so that tokens are exact;"
            " a caller that did not ask does not see it. False leaves the request as it came, and tokens are estimated."
        ),
    ] = True

    def __post_init__(self) -> None:
        if self.protocol == "local":
            if self.base_url:
                raise ValueError("`base_url` is not for protocol `local`")
        elif not self.base_url.startswith(("http://", "https://")):
            raise ValueError("`base_url` must start with http:// or https://")


class BackendSpec(_Strict, frozen=True, kw_only=True):
    """One callable place that serves a version."""

    provider: Annotated[Name, Meta(description="Name of a Provider.")]
    model: Annotated[str, Meta(description="The model's name at the provider.", min_length=1, max_length=256)]


Endpoint = Literal["chat.completions", "completions", "embeddings"]


class Version(_Strict, frozen=True, kw_only=True):
    """What answers, exactly. Immutable: a different spec needs a different name."""

    backends: Annotated[tuple[BackendSpec, ...], Meta(description="Equal places that serve it.", min_length=1)]
    parameters: Annotated[
        dict[str, bool | int | float | str | None],
        Meta(description="Request fields that are set when the caller did not set them."),
    ] = {}
    system_prompt: Annotated[str, Meta(description="Put before the messages of a chat; empty: none.")] = ""


class Model(_Strict, frozen=True, kw_only=True):
    """The public name that clients ask for, and the version that serves it."""

    version: Annotated[Name, Meta(description="Name of a Version.")]
    aliases: Annotated[tuple[Name, ...], Meta(description="Other public names.")] = ()
    endpoints: Annotated[tuple[Endpoint, ...], Meta(description="What it can be used for.", min_length=1)] = (
        "chat.completions",
        "completions",
    )
    owned_by: Annotated[str, Meta(description="Shown by `/v1/models`.", max_length=100)] = "podium"


class LimitPolicy(_Strict, frozen=True, kw_only=True):
    """How much a key or a tenant may use. Policies add up: each that matches must have room.

    Without `tenant` and `key`, it holds for each tenant by itself.
    """

    tenant: Annotated[str | None, Meta(description="The tenant that it holds for, all of its keys together.")] = None
    key: Annotated[str | None, Meta(description="The id of the key that it holds for.")] = None
    requests_per_minute: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Exchanges in a minute.")] = None
    tokens_per_minute: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Input and output tokens in a minute.")
    ] = None
    concurrency: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Exchanges at the same time.")] = None

    def __post_init__(self) -> None:
        if self.tenant is not None and self.key is not None:
            raise ValueError("name at most one of `tenant` and `key`")
        if self.requests_per_minute is None and self.tokens_per_minute is None and self.concurrency is None:
            raise ValueError("set at least one limit")


class Price(_Strict, frozen=True, kw_only=True):
    """What tokens cost, in dollars for a million of them, as decimal strings."""

    model: Annotated[str, Meta(description="The model's name at the provider; `*` at the end matches any rest.")]
    provider: Annotated[str | None, Meta(description="Name of a Provider; None: any.")] = None
    input_usd_per_million: Annotated[Usd, Meta(description="Input tokens.")]
    cached_input_usd_per_million: Annotated[
        Usd | None, Meta(description="Input tokens that the upstream had cached; None: as input.")
    ] = None
    cache_write_usd_per_million: Annotated[
        Usd | None, Meta(description="Input tokens that the upstream put into its cache; None: as input.")
    ] = None
    output_usd_per_million: Annotated[Usd, Meta(description="Output tokens.")]
    reasoning_usd_per_million: Annotated[
        Usd | None, Meta(description="Output tokens spent on reasoning; None: as output.")
    ] = None


Spec = Tenant | Provider | Model | Version | LimitPolicy | Price

SPECS: dict[Kind, type[Spec]] = {
    "Tenant": Tenant,
    "Provider": Provider,
    "Version": Version,
    "Model": Model,
    "LimitPolicy": LimitPolicy,
    "Price": Price,
}
assert set(SPECS) == set(get_args(Kind))


class Resource(msgspec.Struct, frozen=True):
    """One declared thing."""

    kind: Kind
    name: str
    spec: Spec


def spec_from_builtins(kind: Kind, value: object) -> Spec:
    """The typed spec of a decoded YAML or JSON value; msgspec.ValidationError names the key path."""
    return msgspec.convert(value, SPECS[kind])
