"""What a Messages request says and a chat cannot."""

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.translation import Unsupported

__all__ = ["Losses"]

_MOST_NAMES = 32  # they go into one header
_MOST_CHARACTERS = 64


class Losses:
    """Collects what is left out of one request; with the policy `reject`, the first loss refuses it."""

    __slots__ = ("_names", "_unsupported")

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._names: set[str] = set()

    def add(self, name: str, path: str | None = None) -> None:
        """Leave out `name`, which stands at `path` (None: it is a field of the request). InvalidRequest: rejected."""
        if self._unsupported == "reject":
            raise InvalidRequest(
                f"The model's provider (OpenAI chat) has nothing like `{name[:_MOST_CHARACTERS]}`.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                parameter=(path or name)[: 2 * _MOST_CHARACTERS],
                hint="The provider's `unsupported: drop` leaves such fields out.",
            )
        plain = len(name) <= _MOST_CHARACTERS and name.isascii() and name.replace(".", "_").isidentifier()
        if len(self._names) < _MOST_NAMES:
            self._names.add(name if plain else "other")

    @property
    def names(self) -> tuple[str, ...]:
        """What was left out, sorted; safe to stand in a header."""
        return tuple(sorted(self._names))
