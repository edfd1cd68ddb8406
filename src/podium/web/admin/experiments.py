"""`/experiments`: planned, started, reported, stopped."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from podium.control.experiments.views import ExperimentView, PlanRequest
from podium.control.rollouts.views import RolloutView
from podium.delivery.experiments.page import html_page
from podium.delivery.experiments.plan import Plan
from podium.delivery.experiments.report import ExperimentReport
from podium.web.admin.commands import Message, Seen, command, command_route
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors

__all__ = ["HANDLERS", "ExperimentList"]

_HTML = "text/html"  # the framework adds the charset
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class ExperimentList(msgspec.Struct, frozen=True, kw_only=True):
    """Declared experiments, by name."""

    experiments: Annotated[tuple[ExperimentView, ...], Meta(description="Those that never began, too.")]


@get("/experiments", operation_id="listExperiments", tags=["experiments"], responses=errors())
async def list_experiments(plane: Plane) -> ExperimentList:
    """List the declared experiments and where they stand."""
    return ExperimentList(experiments=await plane.experiments.all())


@post(
    "/experiments/plan",
    operation_id="planExperiment",
    tags=["experiments"],
    status_code=200,
    responses=errors(404),
)
async def plan_experiment(plane: Plane, data: JSONBody[PlanRequest]) -> Plan:
    """Tell how many exchanges and days an experiment takes, or which effect it can show in so many."""
    return await plane.experiments.plan(data)


@get(
    "/experiments/{name:str}/report",
    operation_id="getExperimentReport",
    tags=["experiments"],
    responses=errors(404, 409),
)
async def get_experiment_report(plane: Plane, name: FromPath[str]) -> ExperimentReport:
    """Report an experiment; its effects, sample ratio, money and segments, and what must not be believed."""
    return await plane.experiments.report(name)


@get(
    "/experiments/{name:str}/report.html",
    operation_id="getExperimentReportPage",
    tags=["experiments"],
    media_type=_HTML,
    responses=errors(404, 409),
)
async def get_experiment_report_page(plane: Plane, name: FromPath[str]) -> Response[str]:
    """Report an experiment as one HTML page; it loads nothing from anywhere."""
    page = html_page(await plane.experiments.report(name))
    return Response(page, media_type=_HTML, headers={"content-security-policy": _POLICY})


@command_route("/experiments/{name:str}/stop", "stopExperiment")
async def stop_experiment(
    plane: Plane,
    *,
    author: Author,
    name: FromPath[str],
    message: Message = "",
    seen: Seen = None,
    winner: Annotated[
        str, QueryParameter(description="The arm whose version the model gets; empty: as before.", max_length=128)
    ] = "",
) -> RolloutView:
    """End it; with a winner, whose version serves everybody from then on, or without."""
    return await plane.experiments.stop(name, author=author, message=message, seen=seen, winner=winner)


HANDLERS = [
    list_experiments,
    plan_experiment,
    get_experiment_report,
    get_experiment_report_page,
    command(
        "/experiments/{name:str}/start",
        "startExperiment",
        "Start it; its design is frozen from here on.",
        lambda plane: plane.experiments.start,
    ),
    stop_experiment,
]
