"""Who may use the admin API: the bearer of a live key with `admin`.

The key is read from the database, not from a snapshot: a revocation bites at once in the process that
made it, and within the cache's second in the others. A suspended tenant's admin keys still work, or nobody
could end the suspension.
"""

from collections import OrderedDict

from podium.control.ports import KeyStore
from podium.core.clock import Clock
from podium.core.errors import Forbidden, Unauthenticated
from podium.core.reasons import Reason
from podium.core.snapshot import KeyEntry
from podium.identity.authenticate import authenticate
from podium.identity.keys import digest_secret, parse_api_key

__all__ = ["Operators"]

_CACHED_S = 1.0
_CACHED_KEYS = 256
_SENTENCES = {
    Reason.INVALID_API_KEY: "the API key is not valid",
    Reason.REVOKED_API_KEY: "the API key was revoked",
    Reason.EXPIRED_API_KEY: "the API key has expired",
}


class Operators:
    """The use case."""

    def __init__(self, store: KeyStore, pepper: bytes, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._cache: OrderedDict[str, tuple[int, KeyEntry]] = OrderedDict()
        self._changes = 0

    async def identify(self, presented: str | None) -> KeyEntry:
        """The key of an operator; Unauthenticated, Forbidden, or Unavailable while the database is down."""
        if presented is None:
            raise Unauthenticated(
                "an API key is needed",
                reason=Reason.MISSING_API_KEY,
                hint="send `Authorization: Bearer pk_...`; the first admin key is in `<data>/admin.key`",
            )
        key = parse_api_key(presented)
        if key is None:
            raise Unauthenticated(_SENTENCES[Reason.INVALID_API_KEY])
        entry = await self._entry(key.id)
        reason = authenticate(entry, digest_secret(self._pepper, key.secret), self._clock.unix_ns() / 1e9)
        if entry is None or reason is not Reason.OK:
            raise Unauthenticated(_SENTENCES.get(reason, _SENTENCES[Reason.INVALID_API_KEY]), reason=reason)
        if not entry.admin:
            raise Forbidden(
                "the API key may not use the admin API",
                reason=Reason.ENDPOINT_NOT_ALLOWED,
                hint="create a key with `admin` for it",
            )
        return entry

    def forget(self, key_id: str) -> None:
        """The key was changed by this process."""
        self._changes += 1
        self._cache.pop(key_id, None)

    async def _entry(self, key_id: str) -> KeyEntry | None:
        now_ns = self._clock.monotonic_ns()
        cached = self._cache.get(key_id)
        if cached is not None and now_ns < cached[0]:
            return cached[1]
        changes = self._changes
        record = await self._store.find(key_id)
        if record is None:
            return None
        if changes == self._changes:  # else what was read may be from before the change
            self._cache[key_id] = (now_ns + int(_CACHED_S * 1e9), record.entry)
            self._cache.move_to_end(key_id)
            if len(self._cache) > _CACHED_KEYS:
                self._cache.popitem(last=False)
        return record.entry
