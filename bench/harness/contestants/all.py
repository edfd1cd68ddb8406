"""All contestants, in the order of the tables."""

from harness.contestants.alternatives import GranianServer, PyreqwestTransport
from harness.contestants.base import Contestant
from harness.contestants.engine import PodiumEngine, Worker
from harness.contestants.nginx import Nginx
from harness.contestants.podium import Podium
from harness.contestants.podium_bare import PodiumBare
from harness.contestants.podium_scale import (
    PodiumFewKeys,
    PodiumManyKeys,
    PodiumNarrow,
    PodiumOneGateway,
    PodiumTwoGateways,
)
from harness.contestants.podium_shared import PodiumBudgets, PodiumRedis, PodiumRedisLeases, PodiumUnlimited
from harness.contestants.podium_variants import PodiumFailover, PodiumSingle, PodiumSlow, PodiumTranslation
from harness.contestants.vllm_router import VllmRouter

__all__ = ["CONTESTANTS"]

CONTESTANTS: tuple[Contestant, ...] = (
    Nginx(),
    VllmRouter(),
    Podium(),
    PodiumFailover(),
    PodiumSingle(),
    PodiumTranslation(),
    PodiumSlow(),
    PodiumUnlimited(),
    PodiumBudgets(),
    PodiumRedis(),
    PodiumRedisLeases(),
    PodiumFewKeys(),
    PodiumManyKeys(),
    PodiumNarrow(),
    PodiumOneGateway(),
    PodiumTwoGateways(),
    PodiumBare(),
    GranianServer(),
    PyreqwestTransport(),
    PodiumEngine(),
    Worker(),
)
