"""What an operator declares: kinds, names and typed specs.

Every change of a resource is a revision with an author, a diff and a way back. Field comments are the
option's documentation: docs/reference/resources.md is generated from the `Meta` descriptions here.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from podium.core.budgets import Budget
from podium.core.flags import Flag
from podium.core.limits import LimitPolicy
from podium.core.registry import Adapter, Stage, Tool, Weights
from podium.core.rollouts import Progress, Rollout
from podium.core.serving import Balancing, CircuitBreaker, FailureHandling, HealthCheck, Queueing
from podium.core.spec import Count, Name, Seconds, Strict, Usd

__all__ = [
    "SPECS",
    "Aws",
    "BackendSpec",
    "Flag",
    "Kind",
    "LimitPolicy",
    "Model",
    "Preset",
    "Price",
    "Progress",
    "Protocol",
    "Provider",
    "Resource",
    "Rollout",
    "SecretRef",
    "Spec",
    "Tenant",
    "Timeouts",
    "Tls",
    "Version",
    "spec_from_builtins",
]

Kind = Literal[
    "Tenant", "Provider", "Model", "Version", "LimitPolicy", "Budget", "Price", "Flag", "Rollout", "Progress"
]


class SecretRef(Strict, frozen=True, kw_only=True):
    """Where a secret is; the value itself is never in a resource. Exactly one of the two is set."""

    env: Annotated[str | None, Meta(description="Environment variable of the gateway process.")] = None
    file: Annotated[str | None, Meta(description="File that the gateway process can read.")] = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("name exactly one of `env` and `file`")


class Timeouts(Strict, frozen=True, kw_only=True):
    """How long each part of an upstream call may take."""

    connect_s: Annotated[Seconds, Meta(description="TCP and TLS set-up.")] = 5.0
    first_byte_s: Annotated[Seconds, Meta(description="From the request to the head of the answer.")] = 300.0
    between_bytes_s: Annotated[Seconds, Meta(description="Silence inside an answer.")] = 60.0
    total_s: Annotated[Seconds, Meta(description="The whole exchange, all attempts together.")] = 900.0


class Tls(Strict, frozen=True, kw_only=True):
    """How an https upstream is verified."""

    ca_file: Annotated[str | None, Meta(description="PEM bundle instead of the system's.")] = None
    certificate_file: Annotated[str | None, Meta(description="Client certificate (PEM).")] = None
    key_file: Annotated[str | None, Meta(description="Client key (PEM).")] = None
    verify: Annotated[bool, Meta(description="False accepts any certificate; for tests only.")] = True


class Tenant(Strict, frozen=True, kw_only=True):
    """A customer: whose keys, limits and costs belong together."""

    display_name: Annotated[str, Meta(description="For people.", max_length=200)] = ""
    suspended: Annotated[bool, Meta(description="All of the tenant's keys are refused.")] = False
    models: Annotated[
        tuple[str, ...], Meta(description="Models the tenant may use; `*` matches any run of characters.")
    ] = ("*",)
    tier: Annotated[
        str, Meta(description="A label that limits may be set for; of keys that have none.", max_length=64)
    ] = ""


Protocol = Literal["openai", "anthropic", "gemini", "bedrock", "local"]
Preset = Literal[
    "openai",
    "azure",
    "groq",
    "together",
    "fireworks",
    "mistral",
    "deepseek",
    "xai",
    "openrouter",
    "vllm",
    "sglang",
    "tgi",
    "ollama",
    "lmstudio",
]


class Aws(Strict, frozen=True, kw_only=True):
    """How calls to Bedrock are signed. Without keys: AWS's usual sources (environment, profile, role)."""

    region: Annotated[str, Meta(description="For example `eu-central-1`.", pattern=r"^[a-z0-9-]{1,40}\Z")]
    access_key_id: Annotated[SecretRef | None, Meta(description="Public part of the key.")] = None
    secret_access_key: Annotated[SecretRef | None, Meta(description="Secret part of the key.")] = None
    session_token: Annotated[SecretRef | None, Meta(description="For temporary keys.")] = None

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("`access_key_id` and `secret_access_key` belong together")


class Provider(Strict, frozen=True, kw_only=True):
    """A place that answers model calls, with one account on it."""

    protocol: Annotated[Protocol, Meta(description="Wire protocol; `local`: our own workers.")]
    preset: Annotated[
        Preset | None, Meta(description="A service that speaks OpenAI's protocol: its base URL and its peculiarities.")
    ] = None
    base_url: Annotated[
        str,
        Meta(
            description="Up to and including the version, e.g. `https://api.openai.com/v1`."
            " Empty: the protocol's or the preset's own. Not for `local`."
        ),
    ] = ""
    api_key: Annotated[SecretRef | None, Meta(description="Sent in the way of the protocol.")] = None
    aws: Annotated[Aws | None, Meta(description="For `bedrock`: signs calls instead of sending `api_key`.")] = None
    api_version: Annotated[
        str, Meta(description="For preset `azure`: dated version of deployment URLs; empty: the `/openai/v1` API.")
    ] = ""
    region: Annotated[str, Meta(description="Where it computes, in your own words, e.g. `eu`.", max_length=64)] = ""
    headers: Annotated[dict[str, str], Meta(description="Further headers on each call.")] = msgspec.field(
        default_factory=dict
    )
    timeouts: Annotated[Timeouts, Meta(description="Limits in time.")] = Timeouts()
    tls: Annotated[Tls, Meta(description="Limits of trust.")] = Tls()
    max_connections: Annotated[int, Meta(description="Open connections per gateway.", ge=1, le=65_536)] = 4096
    max_calls: Annotated[
        Count | None, Meta(description="Calls at once per gateway; one more goes elsewhere or is refused. None: any.")
    ] = None
    breaker: Annotated[
        CircuitBreaker | None, Meta(description="For the whole account, beside that of each backend; null: none.")
    ] = None
    health_check: Annotated[HealthCheck | None, Meta(description="Asking whether it lives; null: not.")] = None
    unsupported: Annotated[
        Literal["reject", "drop"],
        Meta(
            description="A request field that the protocol cannot express: an error, or left out and named in the"
            " answer's `x-podium-dropped`."
        ),
    ] = "reject"
    default_max_tokens: Annotated[
        Count, Meta(description="For protocols that demand a limit on the answer, when the caller set none.")
    ] = 4096
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
        elif self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise ValueError("`base_url` must start with http:// or https://")
        if self.preset is not None and self.protocol != "openai":
            raise ValueError("`preset` is for protocol `openai`")
        if self.protocol == "openai" and not self.base_url and self.preset in (None, "azure"):
            raise ValueError("`base_url` is missing")
        if self.protocol == "bedrock" and self.aws is None and not self.base_url:
            raise ValueError("name the `aws` region or a `base_url`")
        if self.aws is not None and self.protocol != "bedrock":
            raise ValueError("`aws` is for protocol `bedrock`")


class BackendSpec(Strict, frozen=True, kw_only=True):
    """One callable place that serves a version."""

    provider: Annotated[Name, Meta(description="Name of a Provider.")]
    model: Annotated[str, Meta(description="The model's name at the provider.", min_length=1, max_length=256)]
    weight: Annotated[
        int, Meta(description="Its share, for strategies with weights; 0 takes nothing new.", ge=0, le=10_000)
    ] = 1
    region: Annotated[
        Annotated[str, Meta(max_length=64)] | None, Meta(description="Where it computes; None: as the provider.")
    ] = None


Endpoint = Literal["chat.completions", "completions", "embeddings"]


class Version(Strict, frozen=True, kw_only=True):
    """What answers, exactly. What it is made of never changes under one name; where it runs and what is noted may."""

    backends: Annotated[
        tuple[BackendSpec, ...],
        Meta(
            description="Equal places that serve it; added, weighted, drained and removed while it serves.",
            min_length=1,
        ),
    ]
    parameters: Annotated[
        dict[str, bool | int | float | str | None],
        Meta(description="Request fields that are set when the caller did not set them."),
    ] = msgspec.field(default_factory=dict)
    system_prompt: Annotated[str, Meta(description="Put before the messages of a chat; empty: none.")] = ""
    tools: Annotated[
        tuple[Tool, ...], Meta(description="Offered to the model when the caller offers none.", max_length=128)
    ] = ()
    guard: Annotated[str, Meta(description="Reserved for the name of a guard policy.", max_length=128)] = ""
    weights: Annotated[
        Weights | None,
        Meta(description="The files of the model, which then count for the digest instead of the backends' names."),
    ] = None
    adapters: Annotated[tuple[Adapter, ...], Meta(description="LoRA files over the weights.", max_length=16)] = ()
    stage: Annotated[Stage, Meta(description="Where it is in its life; `retired` ones cannot be used.")] = "draft"
    pinned: Annotated[bool, Meta(description="Our worker of it stays in memory, used or not.")] = False
    parent: Annotated[Name | None, Meta(description="The Version that it was made from.")] = None
    licence: Annotated[str, Meta(description="Its terms, e.g. `Apache-2.0`.", max_length=200)] = ""
    data_sources: Annotated[
        tuple[Annotated[str, Meta(max_length=1024)], ...],
        Meta(description="What it was trained or tuned on, in your own words.", max_length=100),
    ] = ()
    notes: Annotated[str, Meta(description="For people.", max_length=10_000)] = ""

    def __post_init__(self) -> None:
        if self.adapters and self.weights is None:
            raise ValueError("`adapters` need `weights`")
        if len({tool.name for tool in self.tools}) != len(self.tools):
            raise ValueError("two `tools` have one name")


class Model(Strict, frozen=True, kw_only=True):
    """The public name that clients ask for, and the version that serves it."""

    version: Annotated[Name, Meta(description="Name of a Version.")]
    aliases: Annotated[tuple[Name, ...], Meta(description="Other public names.")] = ()
    endpoints: Annotated[tuple[Endpoint, ...], Meta(description="What it can be used for.", min_length=1)] = (
        "chat.completions",
        "completions",
    )
    balancing: Annotated[Balancing, Meta(description="Which backend takes a call.")] = Balancing()
    failure: Annotated[FailureHandling, Meta(description="What happens when one fails.")] = FailureHandling()
    queueing: Annotated[
        Queueing | None, Meta(description="Exchanges at once, and a queue before them; null: no bound, no queue.")
    ] = None
    owned_by: Annotated[str, Meta(description="Shown by `/v1/models`.", max_length=100)] = "podium"


class Price(Strict, frozen=True, kw_only=True):
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


Spec = Tenant | Provider | Model | Version | LimitPolicy | Budget | Price | Rollout | Progress | Flag

SPECS: dict[Kind, type[Spec]] = {
    "Tenant": Tenant,
    "Provider": Provider,
    "Version": Version,
    "Model": Model,
    "LimitPolicy": LimitPolicy,
    "Budget": Budget,
    "Price": Price,
    "Flag": Flag,
    "Rollout": Rollout,
    "Progress": Progress,
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
