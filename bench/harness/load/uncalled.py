"""Upstreams for what is timed without any call."""

from collections.abc import Awaitable

from podium.core.resources import Provider
from podium.gateway.ports import Answer, Headers, Upstream

__all__ = ["UncalledUpstreams"]


class _Upstream:
    """Is never called (podium.gateway.ports.Upstream)."""

    endpoints = frozenset(("chat.completions",))
    reports_stream_usage = True
    total_s = 60.0

    def __init__(self, provider: str, model: str) -> None:
        self.provider, self.model, self.label = provider, model, f"{provider}/{model}"

    def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Awaitable[Answer]:
        raise NotImplementedError


class UncalledUpstreams:
    """Makes them (podium.gateway.ports.UpstreamFactory)."""

    def upstream(self, provider: str, spec: Provider, model: str) -> Upstream:  # noqa: ARG002 - a Protocol's signature
        return _Upstream(provider, model)

    def retire_unused(self) -> None:
        """Nothing is kept."""
