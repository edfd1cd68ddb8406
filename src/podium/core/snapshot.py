"""What the data plane reads: everything declared, at one revision, immutable.

The control plane publishes it as one file; a gateway compiles it into look-ups and swaps them at once.
"""

import msgspec

from podium.core.budgets import Budget
from podium.core.flags import Flag
from podium.core.limits import LimitPolicy
from podium.core.resources import Model, Price, Provider, Tenant, Version
from podium.core.rollouts import Progress, Rollout

__all__ = ["KeyEntry", "KeySecret", "Snapshot", "decode_snapshot", "encode_snapshot"]


class KeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret that proves a key. A rotated key has two for the time of its grace."""

    digest: bytes  # podium.identity.keys.digest_secret
    expires_unix_s: float | None = None


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as the data plane knows it."""

    id: str  # the public part of `pk_<id>_<secret>`
    tenant: str
    name: str
    secrets: tuple[KeySecret, ...]
    models: tuple[str, ...] = ("*",)  # `*` matches any run of characters
    endpoints: tuple[str, ...] = (
        "*",
    )  # chat.completions, completions, embeddings, models, feedback, flags, or `*` for these; versions
    admin: bool = False  # may use the admin API
    expires_unix_s: float | None = None
    revoked_unix_s: float | None = None
    tier: str = ""  # a label that limits may be set for; empty: the tenant's
    tags: str = ""  # that budgets may count by, in the form of podium.core.tags


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the data plane needs to know."""

    revision: int  # grows with each publication
    published_unix_s: float
    keys: tuple[KeyEntry, ...] = ()
    tenants: dict[str, Tenant] = {}
    providers: dict[str, Provider] = {}
    versions: dict[str, Version] = {}
    models: dict[str, Model] = {}
    limit_policies: dict[str, LimitPolicy] = {}
    budgets: dict[str, Budget] = {}
    prices: dict[str, Price] = {}
    flags: dict[str, Flag] = {}
    rollouts: dict[str, Rollout] = {}
    progress: dict[str, Progress] = {}  # of rollouts, by the same names


encode_snapshot = msgspec.msgpack.Encoder().encode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode
