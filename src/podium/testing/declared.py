"""A small declared world to start a gateway with: one tenant, one provider, some models."""

import time
from collections.abc import Iterable, Mapping

from podium.core.resources import BackendSpec, Endpoint, LimitPolicy, Model, Price, Provider, Tenant, Timeouts, Version
from podium.core.snapshot import KeyEntry, Snapshot

__all__ = ["SHORT_TIMEOUTS", "declared"]

_EVERY_ENDPOINT: tuple[Endpoint, ...] = ("chat.completions", "completions", "embeddings")

SHORT_TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=0.4, between_bytes_s=0.4, total_s=5.0)


def declared(
    base_url: str,
    *,
    models: Iterable[str] = ("m",),
    tenant: str = "acme",
    keys: tuple[KeyEntry, ...] = (),
    timeouts: Timeouts = SHORT_TIMEOUTS,
    report_stream_usage: bool = True,
    limit_policies: Mapping[str, LimitPolicy] | None = None,
    backends: tuple[BackendSpec, ...] = (),
    revision: int = 1,
) -> Snapshot:
    """Each of `models` is served, under its own name and for every endpoint, by the provider at `base_url`.

    `backends` replaces that provider's for all models. A million tokens cost one dollar in, two out.
    """
    provider = Provider(
        protocol="openai", base_url=base_url, timeouts=timeouts, report_stream_usage=report_stream_usage
    )
    versions = {
        f"{name}@1": Version(backends=backends or (BackendSpec(provider="scripted", model=name),)) for name in models
    }
    return Snapshot(
        revision=revision,
        published_unix_s=time.time(),
        keys=keys,
        tenants={tenant: Tenant()},
        providers={"scripted": provider},
        versions=versions,
        models={name.removesuffix("@1"): Model(version=name, endpoints=_EVERY_ENDPOINT) for name in versions},
        limit_policies=dict(limit_policies or {}),
        prices={"scripted": Price(model="*", input_usd_per_million="1", output_usd_per_million="2")},
    )
