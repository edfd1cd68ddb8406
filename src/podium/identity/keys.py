"""API keys: `pk_<id>_<secret>`.

The id is public and looks the key up; the secret proves it and is stored only as a keyed hash, so that a
copy of the database or of a snapshot holds nothing to call with.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

from podium.core.ids import random_token

__all__ = ["ApiKey", "derive_secret", "digest_secret", "new_api_key", "parse_api_key"]

_ID_LENGTH = 12
_SECRET_LENGTH = 40  # 203 bits
_PATTERN = re.compile(r"pk_([0-9a-z]{12})_([0-9a-z]{40})\Z")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear; exists only at creation and in the caller's header."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r})"

    @property
    def text(self) -> str:
        """The form that callers send."""
        return f"pk_{self.id}_{self.secret}"


def new_api_key() -> ApiKey:
    """A fresh random key."""
    return ApiKey(random_token(_ID_LENGTH), random_token(_SECRET_LENGTH))


def parse_api_key(text: str) -> ApiKey | None:
    """The parts of a well-formed key; None when it is not one."""
    match = _PATTERN.match(text)
    return ApiKey(match[1], match[2]) if match else None


def derive_secret(root: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose (`api-keys`, `snapshot`, `worker`...), independent of those for any other."""
    return hmac.digest(root, purpose.encode(), "sha256")


def digest_secret(pepper: bytes, secret: str) -> bytes:
    """The stored form of a key's secret. A fast hash is enough: the secret has 203 random bits."""
    return hashlib.blake2b(secret.encode(), key=pepper, digest_size=32).digest()
