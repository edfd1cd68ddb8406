"""Asks the control process which exchanges there are: podium.gateway.feedback.ExchangeAsker."""

import asyncio
from urllib.parse import urlencode, urlsplit

import msgspec

from podium.core.errors import OperatorError, PodiumError
from podium.core.resources import Tls
from podium.upstreams.account import origin_of
from podium.upstreams.pool import Pool

__all__ = ["ControlAsker"]

_PATH = "/podium/v1/exchanges/known"
_TIMEOUT_S = 4.0  # control itself looks for some two seconds
_CONNECT_S = 0.5
_LEAVE_ALONE_S = 5.0
_MOST_AT_ONCE = 16
_OK = 200


class _Known(msgspec.Struct):
    known: bool | None


_decode = msgspec.json.Decoder(_Known).decode


class ControlAsker:
    """The control process at `address`. Belongs to one event loop."""

    def __init__(self, address: str, token: str) -> None:
        """OperatorError: that is no address."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OperatorError(f"gateway.control: {address!r} is not an address such as http://10.0.0.4:8081.")
        self._pool = Pool(
            origin_of(address, Tls()),
            connect_s=_CONNECT_S,
            first_byte_s=_TIMEOUT_S,
            between_bytes_s=1.0,
            max_connections=_MOST_AT_ONCE,
            max_answer_bytes=64 * 1024,
        )
        self._head = (
            f"host: {parts.netloc.rpartition('@')[2]}\r\nuser-agent: podium\r\nauthorization: Bearer {token}\r\n\r\n"
        )
        self._asking = 0
        self._again_at_s = 0.0

    async def known(self, tenant: str, request_id: str) -> bool | None:
        """Whether a tenant has an exchange of this request id; None: nobody can tell now.

        A control process that is away is left alone for a while, so that feedback need not wait for it.
        """
        loop = asyncio.get_running_loop()
        if self._asking >= _MOST_AT_ONCE or loop.time() < self._again_at_s:
            return None
        self._asking += 1
        try:
            asked = urlencode({"tenant": tenant, "request_id": request_id})
            request = f"GET {_PATH}?{asked} HTTP/1.1\r\n{self._head}".encode()
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._pool.call(request, deadline_s=loop.time() + _TIMEOUT_S)
            answer.close()
            if answer.status == _OK:
                return _decode(answer.body).known
        except (PodiumError, TimeoutError, msgspec.DecodeError):
            pass
        finally:
            self._asking -= 1
        self._again_at_s = loop.time() + _LEAVE_ALONE_S
        return None

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
