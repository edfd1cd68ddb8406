"""What operators do with API keys: create, list, label, rotate, revoke.

The clear text exists once, in the answer to create or rotate; only its keyed hash is stored.
"""

import re
from collections.abc import Callable
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from podium.control.authors import check_author
from podium.control.ports import ApiKeyRecord, KeyStore, ResourceStore
from podium.core.clock import Clock
from podium.core.errors import Conflict, InvalidRequest, NotFound
from podium.core.snapshot import KeyEntry, KeySecret
from podium.core.tags import encode_tags
from podium.identity.keys import ApiKey, digest_secret, new_api_key

__all__ = ["ENDPOINTS", "IssuedKey", "Keys", "Labels", "NewKey", "is_live"]

_log = structlog.get_logger("podium.control.keys")

_KEY_ID = re.compile(r"[0-9a-z]{12}\Z")
_MAX_LIVE_SECRETS = 2
_MAX_GRACE_S = 90 * 86_400.0
_REVOKE_TRIES = 5
_MAX_UNIX_S = 253_402_300_800.0  # the year 10000

ENDPOINTS = frozenset({"*", "chat.completions", "completions", "embeddings", "feedback", "flags", "models", "versions"})
_TIER = r"^[A-Za-z0-9_.-]{0,64}\Z"
_Pattern = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:/@*-]{1,128}\Z")]


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key is for."""

    tenant: Annotated[str, Meta(description="Name of the Tenant that pays.", min_length=1, max_length=128)]
    name: Annotated[str, Meta(description="For people: who or what uses it.", min_length=1, max_length=200)]
    models: Annotated[
        tuple[_Pattern, ...],
        Meta(description="Models it may use; `*` matches any run of characters.", min_length=1, max_length=200),
    ] = ("*",)
    endpoints: Annotated[
        tuple[str, ...],
        Meta(
            description="`chat.completions`, `completions`, `embeddings`, `models`, `feedback`, `flags`, `*` (all of"
            " these), or `versions`: choosing the version of a model under a rollout, for testers.",
            min_length=1,
        ),
    ] = ("*",)
    admin: Annotated[bool, Meta(description="May use the admin API.")] = False
    tier: Annotated[
        str,
        Meta(description="A label that limits may be set for; empty: the tenant's.", pattern=_TIER),
    ] = ""
    tags: Annotated[
        dict[str, str], Meta(description="What its exchanges are told by, for budgets and usage; at most 8.")
    ] = {}
    expires_unix_s: Annotated[
        float | None, Meta(description="When it stops to work, seconds since 1970; null: never.")
    ] = None


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key's exchanges are told by; null leaves it as it is."""

    tier: Annotated[
        Annotated[str, Meta(pattern=_TIER)] | None,
        Meta(description="A label that limits may be set for; empty: the tenant's."),
    ] = None
    tags: Annotated[dict[str, str] | None, Meta(description="All of its tags, instead of those it has.")] = None


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key and, this once, its clear text."""

    record: ApiKeyRecord
    text: str

    def __repr__(self) -> str:
        return f"IssuedKey(id={self.record.entry.id!r})"


class Keys:
    """The use cases. `changed` is called after each change, with the key's id."""

    def __init__(
        self,
        store: KeyStore,
        resources: ResourceStore,
        pepper: bytes,
        clock: Clock,
        *,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._resources = resources
        self._pepper = pepper
        self._clock = clock
        self._changed = changed

    async def create(self, new: NewKey, *, created_by: str, key: ApiKey | None = None) -> IssuedKey:
        """Issue a key. `key`: of this clear text, instead of a fresh random one."""
        check_author(created_by)
        now = self._now()
        _check_new(new, now)
        await self._check_tenant(new.tenant)
        key = key or new_api_key()
        entry = KeyEntry(
            id=key.id,
            tenant=new.tenant,
            name=new.name,
            secrets=(KeySecret(digest=digest_secret(self._pepper, key.secret)),),
            models=new.models,
            endpoints=new.endpoints,
            admin=new.admin,
            tier=new.tier,
            tags=_encoded(new.tags),
            expires_unix_s=new.expires_unix_s,
        )
        record = ApiKeyRecord(entry=entry, created_unix_s=now, created_by=created_by)
        await self._store.insert(record)
        self._note("key created", entry, created_by)
        return IssuedKey(record=record, text=key.text)

    async def all(self, *, tenant: str | None = None) -> tuple[ApiKeyRecord, ...]:
        """Every key (of one tenant), oldest first, revoked ones too."""
        return tuple(record for record in await self._store.all() if tenant is None or record.entry.tenant == tenant)

    async def get(self, key_id: str) -> ApiKeyRecord:
        """One key; NotFound."""
        record = await self._store.find(key_id) if _KEY_ID.match(key_id) else None
        if record is None:
            raise NotFound(f"there is no key `{key_id[:100]}`")
        return record

    async def rotate(self, key_id: str, *, grace_s: float, author: str) -> IssuedKey:
        """Give the key a second secret; the first one works for `grace_s` more. 0: it ends at once.

        Conflict: the key is revoked or expired, or still in the grace of an earlier rotation.
        """
        check_author(author)
        if not 0 <= grace_s <= _MAX_GRACE_S:
            raise InvalidRequest(f"a grace is 0 to {_MAX_GRACE_S:.0f} seconds", parameter="grace_s")
        record = await self.get(key_id)
        now = self._now()
        _check_rotatable(record.entry, grace_s, now)
        fresh = ApiKey(key_id, new_api_key().secret)
        kept = tuple(_ending(secret, now + grace_s) for secret in _live_secrets(record.entry, now)) if grace_s else ()
        secrets = (*kept, KeySecret(digest=digest_secret(self._pepper, fresh.secret)))
        entry = msgspec.structs.replace(record.entry, secrets=secrets)
        await self._store.replace(entry, expected=record.entry)
        self._note("key rotated", entry, author, grace_s=grace_s)
        return IssuedKey(record=msgspec.structs.replace(record, entry=entry), text=fresh.text)

    async def label(self, key_id: str, labels: Labels, *, author: str) -> ApiKeyRecord:
        """Change tier and tags. Conflict: the key is revoked or expired, or somebody changed it at the same moment."""
        check_author(author)
        record = await self.get(key_id)
        if not is_live(record.entry, self._now()):
            raise Conflict(f"key `{key_id}` is revoked or expired", hint="create a new key instead")
        tier = record.entry.tier if labels.tier is None else labels.tier
        tags = record.entry.tags if labels.tags is None else _encoded(labels.tags)
        entry = msgspec.structs.replace(record.entry, tier=tier, tags=tags)
        if entry != record.entry:
            await self._store.replace(entry, expected=record.entry)
            self._note("key labelled", entry, author, tier=tier, tags=tags)
        return msgspec.structs.replace(record, entry=entry)

    async def revoke(self, key_id: str, *, author: str) -> ApiKeyRecord:
        """End the key for good; no change when it is revoked already."""
        check_author(author)
        for attempt in range(_REVOKE_TRIES):
            record = await self.get(key_id)
            if record.entry.revoked_unix_s is not None:
                return record
            entry = msgspec.structs.replace(record.entry, revoked_unix_s=self._now())
            try:
                await self._store.replace(entry, expected=record.entry)
            except Conflict:  # it was rotated at the same moment; a revocation has to win
                if attempt == _REVOKE_TRIES - 1:
                    raise
                continue
            self._note("key revoked", entry, author)
            return msgspec.structs.replace(record, entry=entry)
        raise AssertionError("unreachable")

    async def _check_tenant(self, tenant: str) -> None:
        _, resources = await self._resources.current()
        if not any(resource.kind == "Tenant" and resource.name == tenant for resource in resources):
            raise InvalidRequest(
                f"there is no Tenant `{tenant}`",
                parameter="tenant",
                hint="declare the tenant with `podium apply` first",
            )

    def _now(self) -> float:
        return self._clock.unix_ns() / 1e9

    def _note(self, event: str, entry: KeyEntry, author: str, **more: object) -> None:
        _log.info(event, key_id=entry.id, tenant=entry.tenant, admin=entry.admin, author=author, **more)
        self._changed(entry.id)


def is_live(entry: KeyEntry, now: float) -> bool:
    """Whether the key is neither revoked nor expired."""
    return entry.revoked_unix_s is None and (entry.expires_unix_s is None or now < entry.expires_unix_s)


def _check_new(new: NewKey, now: float) -> None:
    if "\0" in new.tenant + new.name or not new.name.strip():
        raise InvalidRequest("a key's name must say something and hold no NUL", parameter="name")
    if unknown := sorted(set(new.endpoints) - ENDPOINTS):
        raise InvalidRequest(
            f"there is no endpoint `{unknown[0]}`; there are {', '.join(sorted(ENDPOINTS))}", parameter="endpoints"
        )
    if new.expires_unix_s is not None and not now < new.expires_unix_s < _MAX_UNIX_S:
        raise InvalidRequest("the key would have expired already, or never", parameter="expires_unix_s")


def _encoded(tags: dict[str, str]) -> str:
    try:
        return encode_tags(tags)
    except ValueError as error:
        raise InvalidRequest(str(error), parameter="tags") from None


def _check_rotatable(entry: KeyEntry, grace_s: float, now: float) -> None:
    if not is_live(entry, now):
        raise Conflict(f"key `{entry.id}` is revoked or expired", hint="create a new key instead")
    if grace_s and len(_live_secrets(entry, now)) >= _MAX_LIVE_SECRETS:
        raise Conflict(
            f"key `{entry.id}` was rotated before and its old secret still works",
            hint="wait until that ends, or rotate with a grace of 0, which ends every older secret at once",
        )


def _live_secrets(entry: KeyEntry, now: float) -> list[KeySecret]:
    return [secret for secret in entry.secrets if secret.expires_unix_s is None or now < secret.expires_unix_s]


def _ending(secret: KeySecret, at: float) -> KeySecret:
    return msgspec.structs.replace(
        secret, expires_unix_s=at if secret.expires_unix_s is None else secret.expires_unix_s
    )
