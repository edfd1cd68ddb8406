"""What operators tell a rollout or an experiment to do: routes of one shape."""

from collections.abc import Callable
from typing import Annotated, Protocol

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from podium.control.plane import ControlPlane
from podium.control.rollouts.views import RolloutView
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors

__all__ = ["Command", "Message", "Seen", "command", "command_route"]

Message = Annotated[str, QueryParameter(description="Why; kept with the revision.", max_length=1000)]
Seen = Annotated[
    float | None,
    QueryParameter(
        description="`changed_unix_s` of the rollout as you saw it; refused (409) when it has moved since.", ge=0
    ),
]


class Command(Protocol):
    """A use case that moves one rollout."""

    async def __call__(self, name: str, /, *, author: str, message: str = "", seen: float | None = None) -> RolloutView:
        """Where it stands then."""


def command_route(path: str, operation_id: str, *refused: int, description: str | None = None) -> post:
    """Makes a handler the route of a command. `refused`: statuses that it has besides those of all commands."""
    return post(
        path,
        operation_id=operation_id,
        tags=[path.split("/")[1]],
        status_code=200,
        responses=errors(404, 409, *refused),
        description=description,
    )


def command(
    path: str, operation_id: str, description: str, use: Callable[[ControlPlane], Command], *refused: int
) -> HTTPRouteHandler:
    """The route of a command that is told nothing but why, and by whom."""

    @command_route(path, operation_id, *refused, description=description)
    async def move(
        plane: Plane, author: Author, name: FromPath[str], message: Message = "", seen: Seen = None
    ) -> RolloutView:
        return await use(plane)(name, author=author, message=message, seen=seen)

    return move
