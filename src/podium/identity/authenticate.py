"""Who calls: whether the presented secret proves the key."""

from hmac import compare_digest

from podium.core.reasons import Reason
from podium.core.snapshot import KeyEntry

__all__ = ["authenticate"]

_NO_DIGEST = bytes(32)  # compared when the id is unknown, so that both cases take the same time


def authenticate(entry: KeyEntry | None, digest: bytes, now_unix_s: float) -> Reason:
    """OK, or why the key is refused; `entry` None: no key has this id.

    An unknown id and a wrong secret give the same reason: who cannot prove a key learns nothing about it,
    not even that it was revoked. A revocation counts from when it is seen, whatever the clocks say.
    """
    if entry is None:
        compare_digest(_NO_DIGEST, digest)
        return Reason.INVALID_API_KEY
    proven = False
    for secret in entry.secrets:
        # Every live secret is compared, also after a match, so that the time tells nothing.
        if secret.expires_unix_s is None or now_unix_s < secret.expires_unix_s:
            proven |= compare_digest(secret.digest, digest)
    if not proven:
        return Reason.INVALID_API_KEY
    if entry.revoked_unix_s is not None:
        return Reason.REVOKED_API_KEY
    if entry.expires_unix_s is not None and now_unix_s >= entry.expires_unix_s:
        return Reason.EXPIRED_API_KEY
    return Reason.OK
