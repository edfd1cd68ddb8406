"""The key with which the control plane itself calls gateways, to try a candidate and to ask how it does.

It is made of what keys are proved by, so it is nowhere stored and every control process has the same. Gateways know it
while a rollout is under way; its exchanges stand in the ledger under its id.
"""

from collections.abc import Iterable

from podium.control.rollouts.guard import is_active
from podium.core.resources import Progress, Resource
from podium.core.snapshot import KeyEntry, KeySecret
from podium.identity.keys import ApiKey, derive_secret, digest_secret

__all__ = ["own_entries", "own_key"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH = 12, 40
_NAME = "podium/rollouts"


def own_key(pepper: bytes) -> ApiKey:
    """The key in clear. `pepper`: what API keys are digested with."""
    return ApiKey(
        _text(derive_secret(pepper, "rollouts/id"), _ID_LENGTH),
        _text(derive_secret(pepper, "rollouts/secret"), _SECRET_LENGTH),
    )


def own_entries(pepper: bytes, resources: Iterable[Resource]) -> tuple[KeyEntry, ...]:
    """The key as gateways are told it: none while no rollout is under way."""
    tenants: list[str] = []
    active = False
    for resource in resources:
        if resource.kind == "Tenant":
            tenants.append(resource.name)
        active = active or (isinstance(resource.spec, Progress) and is_active(resource.spec))
    if not active or not tenants:
        return ()
    key = own_key(pepper)
    tenant = "default" if "default" in tenants else tenants[0]
    secret = KeySecret(digest=digest_secret(pepper, key.secret))
    return (KeyEntry(id=key.id, tenant=tenant, name=_NAME, secrets=(secret,), admin=True),)


def _text(secret: bytes, length: int) -> str:
    """So many of the digits of a number of 256 bits, which are some 49 of these."""
    number, text = int.from_bytes(secret), ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        text += _DIGITS[digit]
    return text
