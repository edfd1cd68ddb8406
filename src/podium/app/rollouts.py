"""What the loop over rollouts asks gateways: podium.control.rollouts.ports.RolloutGateways over HTTP."""

import asyncio
from types import TracebackType
from typing import Annotated, Any, Self

import httpx
import msgspec
import structlog
from msgspec import Meta

from podium.app.standings import HttpGateways
from podium.control.rollouts.ports import Trial, Trip
from podium.control.rollouts.standing import Standing
from podium.core.resources import Endpoint
from podium.core.standings import Standings, StandingsQuery, TrippedArm

__all__ = ["HttpRolloutGateways"]

_log = structlog.get_logger("podium.control.rollouts")

_CONNECT_S = 2.0
_MAX_DETAIL = 300
_MAX_TOKENS = 16
_TRIPS = StandingsQuery(limits=False, budgets=False, rollouts=True)
_PATHS: dict[Endpoint, str] = {
    "chat.completions": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}


class _Error(msgspec.Struct):
    message: str = ""
    code: Annotated[str | None, Meta(description="`route_not_found`: a port that only tells how a gateway is.")] = None


class _Answer(msgspec.Struct):
    error: _Error | None = None


class HttpRolloutGateways:
    """The gateways at these addresses. Open as an async context manager.

    `key`: Podium's own, which gateways know while a rollout is under way. `public`: where an exchange goes when an
    address is a port for probes alone.
    """

    def __init__(self, addresses: tuple[str, ...], key: str, *, public: str) -> None:
        self._addresses = addresses
        self._public = public
        self._key = key
        self._errors: set[str] = set()  # that were told
        self._asked = HttpGateways(addresses)
        # A proxy of the environment is not asked: the key goes to gateways only.
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()
        await self._asked.__aexit__(kind, error, traceback)

    async def trips(self) -> tuple[Trip, ...]:
        """What gateways have taken out; a gateway that cannot be asked tells nothing."""
        told = await self._asked.ask(_TRIPS, self._key)
        errors = {standings.error for standings in told if standings.error}
        for error in errors - self._errors:
            _log.warning("a gateway does not tell what it has taken out", why=error)
        self._errors = errors
        return tuple(
            Trip(
                rollout=arm.rollout,
                salt=arm.salt,
                arm=arm.arm,
                gateway=standings.place,
                detail=_told(standings, arm),
            )
            for standings in told
            for arm in standings.tripped
        )

    async def try_candidate(self, standing: Standing, timeout_s: float) -> tuple[Trial, ...]:
        """One exchange with each version that is new, at each gateway."""
        versions = _new_versions(standing)
        asked = (
            self._try(address, standing, version, timeout_s) for address in self._addresses for version in versions
        )
        return tuple(await asyncio.gather(*asked))

    async def _try(self, address: str, standing: Standing, version: str, timeout_s: float) -> Trial:
        trial, probes_only = await self._exchange(address, standing, version, timeout_s)
        if probes_only:
            trial, _ = await self._exchange(self._public, standing, version, timeout_s)
        return trial

    async def _exchange(self, address: str, standing: Standing, version: str, timeout_s: float) -> tuple[Trial, bool]:
        """What became of it; and whether the address has no endpoints of models at all."""
        endpoint = standing.model.endpoints[0]
        body = msgspec.json.encode(_request(standing.rollout.model, endpoint))
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": "application/json",
            "x-podium-version": version,
        }
        timeout = httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._client.post(
                    address + _PATHS[endpoint], content=body, headers=headers, timeout=timeout
                )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            why = f"cannot be reached: {str(error) or type(error).__name__}"
            return Trial(gateway=address, answered=None, detail=why[:_MAX_DETAIL]), False
        except (httpx.TimeoutException, TimeoutError):
            return Trial(
                gateway=address, answered=False, detail=f"`{version}` gave no answer in {timeout_s:g} s"
            ), False
        except httpx.HTTPError as error:
            return Trial(gateway=address, answered=False, detail=f"broke off: {error}"[:_MAX_DETAIL]), False
        if answer.status_code == httpx.codes.OK:
            return Trial(gateway=address, answered=True), False
        told = _error(answer.content)
        probes_only = answer.status_code == httpx.codes.NOT_FOUND and told.code in (None, "route_not_found")
        detail = f"`{version}` answers {answer.status_code} {told.code or ''}: {told.message}"
        return Trial(gateway=address, answered=False, detail=detail[:_MAX_DETAIL]), probes_only


def _new_versions(standing: Standing) -> tuple[str, ...]:
    rollout = standing.rollout
    wanted = (rollout.candidate,) if rollout.candidate is not None else tuple(arm.version for arm in rollout.arms)
    return tuple(dict.fromkeys(name for name in wanted if name != standing.model.version))


def _request(model: str, endpoint: Endpoint) -> dict[str, Any]:
    """A short one, for answers are paid for."""
    text = "Reply with the word OK."
    match endpoint:
        case "chat.completions":
            return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": _MAX_TOKENS}
        case "completions":
            return {"model": model, "prompt": text, "max_tokens": _MAX_TOKENS}
        case "embeddings":
            return {"model": model, "input": text}


def _error(content: bytes) -> _Error:
    try:
        return msgspec.json.decode(content, type=_Answer).error or _Error()
    except msgspec.MsgspecError:
        return _Error()


def _told(standings: Standings, arm: TrippedArm) -> str:
    return (
        f"{arm.failures} of the last {arm.of} exchanges of arm `{arm.arm}` at {standings.place} failed ({arm.reason})"
    )
