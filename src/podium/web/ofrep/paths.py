"""`/ofrep/v1/...` of a gateway: flags for OpenFeature's SDKs, by OpenFeature's Remote Evaluation Protocol."""

import re
from urllib.parse import unquote_to_bytes

from podium.core.errors import MethodNotAllowed, NotFound, PodiumError
from podium.gateway.flag_reads import FlagReader, FlagReads
from podium.web.http1.message import Message
from podium.web.ofrep.shapes import (
    CONFIGURATION,
    all_answers,
    error_details,
    failure_answer,
    one_answer,
    read_context,
    status_of,
)

__all__ = ["OFREP_PATH", "OFREP_ROUTES", "OfrepPaths"]

OFREP_PATH = b"/ofrep/"
_FLAGS = b"/ofrep/v1/evaluate/flags"
_CONFIGURATION = b"/ofrep/v1/configuration"
OFREP_ROUTES: tuple[tuple[str, str], ...] = (
    ("POST", "/ofrep/v1/evaluate/flags"),
    ("POST", "/ofrep/v1/evaluate/flags/{key}"),
    ("GET", "/ofrep/v1/configuration"),
)
_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"
_ETAGS = re.compile(rb'(?:W/)?"([^"]*)"')
_MAX_KEY = 128  # characters of a flag's name (podium.core.spec.Name)


class OfrepPaths:
    """Answers what lies below `OFREP_PATH`. `reads` says who may read what."""

    def __init__(self, reads: FlagReads) -> None:
        self._reads = reads

    async def __call__(self, message: Message) -> None:
        """Answer, whatever is asked."""
        try:
            await self._answer(message)
        except PodiumError as error:
            self._send(message, error.status, _error_headers(error), error_details(error.message))

    async def _answer(self, message: Message) -> None:
        path, method = message.path.removesuffix(b"/"), message.method
        if path == _CONFIGURATION:
            _check_method(method, b"GET")
            self._reader(message)
            self._send(message, 200, _JSON, CONFIGURATION)
        elif path == _FLAGS or path.startswith(_FLAGS + b"/"):
            _check_method(method, b"POST")
            await self._evaluate(message, self._reader(message), path[len(_FLAGS) + 1 :])
        else:
            raise NotFound(f"There is nothing at {message.path[:200].decode('latin-1')!r}.")

    async def _evaluate(self, message: Message, reader: FlagReader, name: bytes) -> None:
        key = unquote_to_bytes(name).decode("utf-8", "replace")[: _MAX_KEY + 1] if name else None
        body = message.body
        if body is None:
            body = await message.read_body()
        try:
            attributes = read_context(body)
        except PodiumError as error:
            self._send(message, 400, _JSON, failure_answer(key, error))
            return
        if key is not None:
            found = reader.one(key, attributes)
            self._send(message, status_of(found), _JSON, one_answer(key, found))
            return
        known = frozenset(_ETAGS.findall(message.headers.get(b"if-none-match", b"")))
        readings = reader.all(attributes, known)
        headers = _JSON + b'etag: "%b"\r\n' % readings.tag
        if readings.known:
            self._send(message, 304, headers, b"")
        else:
            self._send(message, 200, headers, all_answers(readings.flags))

    def _send(self, message: Message, status: int, headers: bytes, body: bytes) -> None:
        self._reads.counts.request(status)
        message.send(status, headers, body)

    def _reader(self, message: Message) -> FlagReader:
        headers = message.headers
        authorization = headers.get(b"authorization")
        if authorization is None and (key := headers.get(b"x-api-key")) is not None:
            authorization = b"Bearer " + key
        return self._reads.reader(authorization)


def _check_method(method: bytes, wanted: bytes) -> None:
    if method != wanted:
        name = wanted.decode()
        raise MethodNotAllowed(f"Only {name} is a method of this path.", allowed=(name,))


def _error_headers(error: PodiumError) -> bytes:
    headers = _JSON
    if error.retry_after_s is not None:
        headers += b"retry-after: %d\r\n" % max(1, -int(-error.retry_after_s // 1))
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: %b\r\n" % ", ".join(error.allowed).encode()
    if error.status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
        headers += b"www-authenticate: Bearer\r\n"
    return headers
