"""The simulator's own endpoints, for a test that runs in another process.

`GET /simulate` tells the state, `POST /simulate` with `{"behaviour": "stalls-midway", "for": 3}` orders a
behaviour (without `for`: until the next order), `DELETE /simulate` forgets all orders, and
`GET /simulate/requests` lists the last requests.
"""

from typing import Any, Protocol

import msgspec

from podium.core.usage import Usage
from podium.testing.upstream.behaviours import Behaviour
from podium.testing.upstream.connection import SimulatedRequest
from podium.testing.upstream.performance import Performance, perform
from podium.testing.upstream.wire import Answer, Part, Piece, json_answer

__all__ = ["CONTROL", "Controlled", "Order", "State"]

CONTROL = "/simulate"

_LISTED = 100
_NO_EVENT = Piece(Part.END, "", b"{}")


class Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename={"calls": "for"}):
    """The body of `POST /simulate`."""

    behaviour: str
    calls: int | None = None


class State(msgspec.Struct, frozen=True):
    """The answer of `GET /simulate`."""

    behaviour: str  # of the next call
    scripted_calls: int
    requests: int
    refused: list[str]  # why, of the requests that were kept
    open_connections: int
    connections_opened: int


class _Simulated(Protocol):
    @property
    def behaviour(self) -> Behaviour: ...
    @property
    def scripted_calls(self) -> int: ...
    @property
    def requests_seen(self) -> int: ...
    @property
    def open_connections(self) -> int: ...
    @property
    def connections_opened(self) -> int: ...
    @property
    def kept(self) -> list[SimulatedRequest]: ...
    def refused(self) -> list[SimulatedRequest]: ...
    def behave(self, behaviour: str, calls: int | None = None) -> None: ...


class Controlled:
    """Answers the requests for the simulator itself."""

    def __init__(self, simulator: _Simulated) -> None:
        self._simulator = simulator

    def perform(self, request: SimulatedRequest) -> Performance:
        """What to answer."""
        return perform(self._answer(request), Behaviour(), _NO_EVENT)

    def _answer(self, request: SimulatedRequest) -> Answer:
        simulator = self._simulator
        match request.method, request.path:
            case "GET", "/simulate":
                return json_answer(self._state())
            case "GET", "/simulate/requests":
                return json_answer([_listed(one) for one in simulator.kept[-_LISTED:]])
            case "DELETE", "/simulate":
                simulator.behave("")
                return json_answer(self._state())
            case "POST", "/simulate":
                try:
                    order = msgspec.json.decode(request.body, type=Order)
                    simulator.behave(order.behaviour, order.calls)
                except ValueError as error:  # msgspec's errors are among them
                    return json_answer({"error": str(error)}, status=400)
                return json_answer(self._state())
        return json_answer(
            {"error": "There is GET, POST and DELETE /simulate, and GET /simulate/requests."}, status=404
        )

    def _state(self) -> State:
        simulator = self._simulator
        return State(
            behaviour=simulator.behaviour.name,
            scripted_calls=simulator.scripted_calls,
            requests=simulator.requests_seen,
            refused=[request.refused or "" for request in simulator.refused()],
            open_connections=simulator.open_connections,
            connections_opened=simulator.connections_opened,
        )


class _Listed(msgspec.Struct, frozen=True):
    """One request; its headers, which may hold keys, are left out."""

    method: str
    path: str
    protocol: str
    model: str
    streamed: bool
    behaviour: str
    status: int
    refused: str | None
    usage: Usage | None
    body: Any
    finished: bool
    disconnected: bool


def _listed(request: SimulatedRequest) -> _Listed:
    return _Listed(
        method=request.method,
        path=request.path,
        protocol=request.protocol.value if request.protocol else "",
        model=request.model,
        streamed=request.streamed,
        behaviour=request.behaviour,
        status=request.status,
        refused=request.refused,
        usage=request.usage,
        body=request.json(),
        finished=request.finished_at_s is not None,
        disconnected=request.disconnected_at_s is not None,
    )
