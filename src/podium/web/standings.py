"""`GET /podium/v1/standings/<name=value&...>` of a gateway: how limits and budgets stand in it, for operators.

Not for clients: the control process asks it, with the key of the operator who asks there.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl

import msgspec

from podium.core.errors import InvalidRequest, MethodNotAllowed, PodiumError
from podium.core.standings import Standings, StandingsQuery
from podium.web.http1.message import Message

__all__ = ["STANDINGS_PATH", "StandingsPath", "Tell"]

STANDINGS_PATH = b"/podium/v1/standings/"
_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"

Tell = Callable[[str | None, StandingsQuery], Standings]


class StandingsPath:
    """Answers what lies below `STANDINGS_PATH`. `tell` is given the presented key."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def __call__(self, message: Message) -> None:
        """Answer, whatever is asked."""
        try:
            if message.method != b"GET":
                raise MethodNotAllowed("Only GET is a method of this path.", allowed=("GET",))
            standings = self._tell(_key(message), _query(message.path[len(STANDINGS_PATH) :]))
        except PodiumError as error:
            message.send(error.status, _JSON, msgspec.json.encode({"error": {"message": error.message}}))
            return
        message.send(200, _JSON, msgspec.json.encode(standings))


def _key(message: Message) -> str | None:
    scheme, _, key = message.headers.get(b"authorization", b"").partition(b" ")
    return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else None


def _query(text: bytes) -> StandingsQuery:
    try:
        fields = dict(parse_qsl(text.decode(), keep_blank_values=True, strict_parsing=bool(text), max_num_fields=20))
        return msgspec.convert(fields, StandingsQuery, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidRequest(f"The query cannot be read: {error}") from None
