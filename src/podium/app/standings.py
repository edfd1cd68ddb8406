"""Asks gateways how limits and budgets stand in them: podium.control.standings.GatewayAsker."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec

from podium.core.errors import OperatorError
from podium.core.standings import Standings, StandingsQuery

__all__ = ["HttpGateways", "gateway_addresses"]

_TIMEOUT_S = 2.0
_PATH = "/podium/v1/standings/"


class HttpGateways:
    """The gateways at these addresses. Open as an async context manager."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        # A proxy of the environment is not asked: the operator's key goes to gateways only.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, query: StandingsQuery, presented: str) -> tuple[Standings, ...]:
        """The answer of each, or why it gave none."""
        fields = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in msgspec.to_builtins(query).items()
        }
        asked = f"{_PATH}{urlencode(fields)}"
        return tuple(await asyncio.gather(*(self._ask(address, asked, presented) for address in self._addresses)))

    async def _ask(self, address: str, path: str, presented: str) -> Standings:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._client.get(address + path, headers={"authorization": f"Bearer {presented}"})
            if answer.status_code == httpx.codes.OK:
                return msgspec.json.decode(answer.content, type=Standings)
            why = f"answers with status {answer.status_code}"
        except (httpx.HTTPError, TimeoutError) as error:
            why = f"cannot be asked: {str(error) or type(error).__name__}"
        except msgspec.MsgspecError:
            why = "answers as no gateway of this version does"
        return Standings(place=address, error=f"{address} {why}")


def gateway_addresses(text: str) -> tuple[str, ...]:
    """The addresses between the commas. OperatorError: one is no address of a server."""
    addresses = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for address in addresses:
        try:
            parts = urlsplit(address)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.path and parts.port != 0
        except ValueError:
            right = False
        if not right:
            raise OperatorError(f"control.gateways: {address!r} is not an address such as http://10.0.0.5:8080.")
    return addresses
