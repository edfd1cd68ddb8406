"""Services that speak OpenAI's protocol: where they are, how they want the key, and how they differ from OpenAI.

Each peculiarity names its source. Base URLs of servers that run on one's own machine are their defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from podium.core.resources import Preset, Provider
from podium.upstreams.openai import PATHS
from podium.upstreams.quirks import Adapter, Quirks
from podium.wire.anthropic.to_chat import LimitField

__all__ = ["SERVICES", "Service", "adapter_for", "base_url_of", "paths_for", "service_of"]


@dataclass(frozen=True, slots=True)
class Service:
    """One row of the table."""

    base_url: str = ""  # "": each customer has an own one
    key_header: str = "authorization"
    limit_field: LimitField = "max_tokens"  # for requests that we write ourselves
    knows_stream_options: bool = True
    knows_top_k: bool = False  # no field of OpenAI's; elsewhere it is common
    quirks: Quirks | None = None


# Instructions with the role `developer` are refused, or silently lost where a chat template does not know them; the
# limit is ignored under its new name, or refused. Where a server knows both names, the old one means the same.
_LIMIT = (("max_completion_tokens", "max_tokens"),)
_NO_DEVELOPERS = Quirks(has_developers=False)
_OLD_WORDS = Quirks(renamed=_LIMIT, has_developers=False)

# Its API forbids unknown fields ("extra_forbidden"): github.com/editor-code-assistant/eca/issues/231 for the limit,
# avante.nvim/issues/2347 for `stream_options`, openclaude/issues/739 for `store`. Its streams report their usage
# unasked. Fields that it has, and `random_seed`: mistralai/client-python, `ChatCompletionRequest`. Ids of tool calls:
# langchain/pull/24668. An answer of another provider in the history has other ids.
_MISTRAL = Quirks(
    renamed=(*_LIMIT, ("seed", "random_seed")),
    unknown=frozenset(("stream_options", "store", "user", "safety_identifier", "service_tier")),
    refused=frozenset(("logit_bias", "logprobs", "top_logprobs", "top_k", "verbosity", "modalities")),
    has_developers=False,
    short_call_ids=True,
)
# The penalties: "Model ... does not support parameter presencePenalty", also when it is 0 (NativeTavern/issues/83,
# vercel/ai/issues/12826). Errors are texts (vercel/ai/pull/15338).
_XAI = Quirks(zeros_refused=frozenset(("presence_penalty", "frequency_penalty")), has_developers=False)
# "will result in a 400 error (yikes) if they are supplied": console.groq.com/docs/openai.
_GROQ = Quirks(refused=frozenset(("logprobs", "logit_bias", "top_logprobs")))

SERVICES: dict[Preset, Service] = {
    "openai": Service("https://api.openai.com/v1", limit_field="max_completion_tokens"),
    # learn.microsoft.com/azure/foundry/openai/api-version-lifecycle; see `paths_for`.
    "azure": Service(key_header="api-key", limit_field="max_completion_tokens"),
    "groq": Service("https://api.groq.com/openai/v1", quirks=_GROQ),
    # The role and the limit: `detectCompat` of earendil-works/pi, packages/ai/src/api/openai-completions.ts.
    "together": Service("https://api.together.xyz/v1", knows_top_k=True, quirks=_OLD_WORDS),
    "fireworks": Service("https://api.fireworks.ai/inference/v1", knows_top_k=True, quirks=_NO_DEVELOPERS),
    "mistral": Service("https://api.mistral.ai/v1", knows_stream_options=False, quirks=_MISTRAL),
    # "unknown variant `developer`": earendil-works/pi/issues/1048; the limit: ZhiYi-R/moon-bridge/pull/88.
    "deepseek": Service("https://api.deepseek.com/v1", quirks=_OLD_WORDS),
    "xai": Service("https://api.x.ai/v1", quirks=_XAI),
    # Which roles are known depends on the provider behind it; all know `system` (pi, `detectCompat`).
    "openrouter": Service("https://openrouter.ai/api/v1", knows_top_k=True, quirks=_NO_DEVELOPERS),
    # "Unexpected message role." comes from the model's template: ogx-ai/ogx/issues/6069. Both names of the limit:
    # vllm-project/vllm/pull/9837 and sgl-project/sglang/pull/5857.
    "vllm": Service("http://127.0.0.1:8000/v1", knows_top_k=True, quirks=_NO_DEVELOPERS),
    "sglang": Service("http://127.0.0.1:30000/v1", knows_top_k=True, quirks=_NO_DEVELOPERS),
    # router/src/lib.rs, `ChatRequest`; errors are texts (`ErrorResponse`).
    "tgi": Service("http://127.0.0.1:3000/v1", quirks=_OLD_WORDS),
    # The limit: ollama/ollama/issues/7125 (ignored, the model writes on); the role: earendil-works/pi/pull/140.
    "ollama": Service("http://127.0.0.1:11434/v1", quirks=_OLD_WORDS),
    # "must only contain objects with a 'role' field that is in [user, assistant, system, tool]":
    # lmstudio-bug-tracker/issues/669.
    "lmstudio": Service("http://127.0.0.1:1234/v1", knows_top_k=True, quirks=_OLD_WORDS),
}

_OPENAI = Service(limit_field="max_completion_tokens")
_UNKNOWN = Service(knows_top_k=True)  # vLLM, llama.cpp and the like
_OPENAI_HOSTS = ("openai.com", "openai.azure.com")
_OWN_URLS = {"anthropic": "https://api.anthropic.com/v1", "gemini": "https://generativelanguage.googleapis.com/v1beta"}
# What official clients call the base URL has no version; a path of one's own is left alone.
_VERSIONS = {"anthropic": "/v1", "gemini": "/v1beta"}
_LIMIT_RENAMED_AT_AZURE = "2024-09-01"  # openai-python/issues/1724: refused before


def service_of(spec: Provider) -> Service:
    """The row of a provider; without a preset, OpenAI's own hosts are known, and nothing is assumed of others."""
    if spec.preset == "azure" and spec.api_version and spec.api_version < _LIMIT_RENAMED_AT_AZURE:
        return Service(key_header="api-key")
    if spec.preset is not None:
        return SERVICES[spec.preset]
    host = _host(spec.base_url)
    return _OPENAI if any(host == known or host.endswith(f".{known}") for known in _OPENAI_HOSTS) else _UNKNOWN


def _host(base_url: str) -> str:
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:  # `origin_of` says what is wrong with it
        return ""


def base_url_of(spec: Provider) -> str:
    """The URL that a provider's paths are below; "" for `local`."""
    url = spec.base_url.rstrip("/")
    if spec.protocol == "bedrock" and not url and spec.aws is not None:
        region = spec.aws.region
        return f"https://bedrock-runtime.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    if spec.preset == "azure":
        return url.removesuffix("/v1").removesuffix("/openai") + "/openai"
    if spec.preset is not None:
        return url or SERVICES[spec.preset].base_url
    if not url:
        return _OWN_URLS.get(spec.protocol, "")
    _, _, rest = url.partition("://")
    return url if "/" in rest else url + _VERSIONS.get(spec.protocol, "")


def paths_for(spec: Provider, model: str) -> Mapping[str, bytes]:
    """The path of each endpoint below the base URL. At Azure a model is a deployment, and stands in a dated path."""
    if spec.preset != "azure":
        return PATHS
    if not spec.api_version:
        return {endpoint: b"/v1" + path for endpoint, path in PATHS.items()}
    deployment, version = quote(model, safe="").encode(), quote(spec.api_version, safe="").encode()
    return {
        endpoint: b"/deployments/%b%b?api-version=%b" % (deployment, path, version) for endpoint, path in PATHS.items()
    }


def adapter_for(spec: Provider) -> Adapter | None:
    """What puts a provider's requests right; None: nothing has to be."""
    quirks = service_of(spec).quirks
    return None if quirks is None else Adapter(quirks, spec.unsupported)
