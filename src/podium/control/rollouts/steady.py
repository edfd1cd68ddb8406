"""An analyst that does not stop the loop when it breaks: who cannot be judged is held, and what is bad goes back."""

import structlog

from podium.control.rollouts.ports import Analyst, Judgement
from podium.control.rollouts.standing import Standing
from podium.core.errors import Unavailable
from podium.delivery.phases import Happening

__all__ = ["SteadyAnalyst"]

_log = structlog.get_logger("podium.control.rollouts")

_MOST_TOLD = 1000
_BROKEN = Judgement(
    verdict="error",
    reason="analysis_broke",
    detail="the analysis broke, which is a fault of Podium: the log of the control process says where",
    happening=Happening.ERROR,
)


class SteadyAnalyst:
    """Matches `Analyst`; only Unavailable comes through. Each fault of a rollout is logged once, with its stack."""

    def __init__(self, analyst: Analyst) -> None:
        self._analyst = analyst
        self._told: dict[str, str] = {}  # by rollout

    async def judge(self, standing: Standing, now_unix_s: float) -> Judgement:
        """What is known of the step that it is at; an error where that cannot be said."""
        try:
            judgement = await self._analyst.judge(standing, now_unix_s)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a boundary: all other rollouts are judged
            self._tell(standing.name, error)
            return _BROKEN
        self._told.pop(standing.name, None)
        return judgement

    async def keep(self, standing: Standing, judgement: Judgement, happening: str, now_unix_s: float) -> str:
        """Store what a decision was made on; its id. Empty where that broke: the decision is acted on all the same."""
        try:
            return await self._analyst.keep(standing, judgement, happening, now_unix_s)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - as in `judge`
            self._tell(standing.name, error)
            return ""

    def _tell(self, name: str, error: Exception) -> None:
        if self._told.get(name) == repr(error):
            return
        _log.exception("the analysis of a rollout broke", rollout=name)
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[name] = repr(error)
