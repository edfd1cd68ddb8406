"""Who keeps a version: the subject of an exchange, and its bucket."""

from collections.abc import Sequence
from hashlib import blake2b

from podium.core.rollouts import BUCKETS, SubjectKind

__all__ = ["Subjects"]

_BYTES = 16
_FOR_BUCKET = 15  # hex digits, which fit a machine word
_FOR_NAME = 16  # hex digits: what is left


class Subjects:
    """Finds a subject's bucket, and the name under which its exchanges are analysed. `salt` is the rollout's own.

    A subject belongs to its tenant: two tenants' users of one name are two subjects. One that is only a key makes all
    exchanges of the key stick together.
    """

    __slots__ = ("_hash", "_kinds")

    def __init__(self, salt: str, sticky_by: Sequence[SubjectKind]) -> None:
        self._hash = blake2b(digest_size=_BYTES, key=salt.encode()[:64], person=b"podium-subjects")
        self._kinds = tuple(sticky_by)

    def find(self, tenant: str, user: str, session: str, key: str) -> tuple[int, str]:
        """The bucket, 0 to 9999, and 16 hex digits."""
        for kind in self._kinds:
            named = user if kind == "user" else session if kind == "session" else key
            if named:
                break
        else:  # nothing of what it should stick by: the key stands in, which everybody has
            kind, named = "key", key
        subject = self._hash.copy()
        subject.update(f"{tenant}\0{kind}\0{named}".encode("utf-8", "surrogatepass"))
        digits = subject.hexdigest()
        return int(digits[:_FOR_BUCKET], 16) % BUCKETS, digits[-_FOR_NAME:]
