"""`POST /v1/feedback` of a gateway: what users say of answers."""

import msgspec

from podium.core.errors import InvalidRequest, MethodNotAllowed, PodiumError, RequestTooLarge, UnsupportedMediaType
from podium.core.reasons import Reason
from podium.delivery.analysis.opinions import Feedback
from podium.gateway.faces import face_of
from podium.gateway.feedback import ENDPOINT, FeedbackDesk
from podium.web.http1.message import Message

__all__ = ["FEEDBACK_PATH", "FEEDBACK_ROUTES", "FeedbackPath"]

FEEDBACK_PATH = b"/v1/feedback"
FEEDBACK_ROUTES: tuple[tuple[str, str], ...] = (("POST", "/v1/feedback"),)
_MAX_BYTES = 64 * 1024  # of a body: the longest comment has 10,000 characters
_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"
_decode = msgspec.json.Decoder(Feedback).decode
_encode = msgspec.json.Encoder().encode


class FeedbackPath:
    """Answers that path."""

    def __init__(self, desk: FeedbackDesk) -> None:
        self._desk = desk

    async def __call__(self, message: Message) -> None:
        """Answer, whatever is asked. 200: the exchange is known; 202: nobody could tell just now."""
        try:
            if message.method != b"POST":
                raise MethodNotAllowed("Only POST is a method of this path.", allowed=("POST",))
            giver = self._desk.giver(_authorization(message))
            feedback = await _read(message)
            known = await self._desk.take(giver, feedback)
        except PodiumError as error:
            message.send(error.status, _error_headers(error), face_of(ENDPOINT).error_body(error, ""))
            return
        told = {"object": "feedback", "request_id": feedback.request_id, "known": known}
        message.send(200 if known else 202, _JSON, _encode(told))


async def _read(message: Message) -> Feedback:
    content_type = message.headers.get(b"content-type", b"application/json")
    if not content_type.lower().startswith(b"application/json"):
        raise UnsupportedMediaType("The content type must be application/json.")
    body = message.body
    if body is None:
        body = await message.read_body()
    if len(body) > _MAX_BYTES:
        raise RequestTooLarge(f"The body is larger than {_MAX_BYTES} bytes.")
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no feedback: {error}.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidRequest("The body is not valid JSON.", reason=Reason.INVALID_JSON) from None


def _authorization(message: Message) -> bytes | None:
    headers = message.headers
    authorization = headers.get(b"authorization")
    if authorization is None and (key := headers.get(b"x-api-key")) is not None:
        return b"Bearer " + key
    return authorization


def _error_headers(error: PodiumError) -> bytes:
    headers = _JSON
    if error.retry_after_s is not None:
        headers += b"retry-after: %d\r\n" % max(1, -int(-error.retry_after_s // 1))
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: %b\r\n" % ", ".join(error.allowed).encode()
    if error.status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
        headers += b"www-authenticate: Bearer\r\n"
    return headers
