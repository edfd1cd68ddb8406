"""`/resources`, `/apply`, `/diff`, `/export`."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from podium.control.documents import kind_of, parse_documents, yaml_text
from podium.control.resources import Plan
from podium.core.errors import NotFound, UnsupportedMediaType
from podium.core.resources import SPECS, Kind, Resource
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import DocumentsOperation, errors
from podium.web.admin.shapes import ChangeView, Document, RevisionView

__all__ = ["HANDLERS", "Outcome", "ResourceList"]

_MEDIA_TYPES = {"", "application/json", "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}

Message = Annotated[str, QueryParameter(description="Why; kept with the revision.", max_length=2000)]
Expected = Annotated[
    int | None, QueryParameter(description="Refuse (409) unless this is the newest revision.", ge=0, le=2**53)
]
Prune = Annotated[bool, QueryParameter(description="Delete whatever is not among the documents.")]


class ResourceList(msgspec.Struct, frozen=True, kw_only=True):
    """Declared resources, ordered by kind and name."""

    revision: Annotated[int, Meta(description="The newest revision.")]
    resources: tuple[Document, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed, or would be."""

    revision: Annotated[int | None, Meta(description="The new revision; null: nothing was written.")]
    base_revision: Annotated[int, Meta(description="The newest revision before.")]
    dry_run: bool
    unchanged: Annotated[int, Meta(description="Documents that declare what is there already.")]
    changes: tuple[ChangeView, ...]


@get("/resources", operation_id="listResources", tags=["resources"], responses=errors())
async def list_resources(plane: Plane) -> ResourceList:
    """List everything that is declared."""
    return _listed(*await plane.resources.all())


@get("/resources/{kind:str}", operation_id="listResourcesOfKind", tags=["resources"], responses=errors(404))
async def list_resources_of_kind(plane: Plane, kind: FromPath[str]) -> ResourceList:
    """List what is declared of one kind."""
    return _listed(*await plane.resources.all(_kind(kind)))


@get("/resources/{kind:str}/{name:path}", operation_id="getResource", tags=["resources"], responses=errors(404))
async def get_resource(plane: Plane, kind: FromPath[str], name: FromPath[str]) -> Document:
    """Get one resource."""
    return Document.of(await plane.resources.get(_kind(kind), name.removeprefix("/")))


@delete(
    "/resources/{kind:str}/{name:path}",
    operation_id="deleteResource",
    tags=["resources"],
    status_code=200,
    responses=errors(404, 409),
)
async def delete_resource(
    plane: Plane,
    author: Author,
    kind: FromPath[str],
    name: FromPath[str],
    message: Message = "",
    expected_revision: Expected = None,
) -> RevisionView:
    """Delete one resource; refused (409) while another refers to it."""
    revision = await plane.resources.delete(
        _kind(kind), name.removeprefix("/"), author=author, message=message, expected_revision=expected_revision
    )
    return RevisionView.of(revision)


@post(
    "/apply",
    operation_id="applyResources",
    operation_class=DocumentsOperation,
    tags=["resources"],
    status_code=200,
    responses=errors(409, 413, 415),
)
async def apply(
    plane: Plane,
    *,
    author: Author,
    request: Request[Any, Any, Any],
    message: Message = "",
    expected_revision: Expected = None,
    prune: Prune = False,
    dry_run: Annotated[bool, QueryParameter(description="Check and tell, but write nothing.")] = False,
) -> Outcome:
    """Make the declared state what the documents say, as one revision; all of them or none."""
    result = await plane.resources.apply(
        await _documents(request),
        author=author,
        message=message,
        expected_revision=expected_revision,
        prune=prune,
        dry_run=dry_run,
    )
    return _outcome(result.plan, result.revision.number if result.revision else None, dry_run=dry_run)


@post(
    "/diff",
    operation_id="diffResources",
    operation_class=DocumentsOperation,
    tags=["resources"],
    status_code=200,
    responses=errors(409, 413, 415),
)
async def diff(plane: Plane, *, request: Request[Any, Any, Any], prune: Prune = False) -> Outcome:
    """Tell what an apply of the documents would change, or why it would be refused."""
    return _outcome(await plane.resources.plan(await _documents(request), prune=prune), None, dry_run=True)


@get(
    "/export",
    operation_id="exportResources",
    tags=["resources"],
    media_type="application/yaml",
    responses=errors(),
)
async def export(
    plane: Plane,
    format_: Annotated[Literal["yaml", "json"], QueryParameter(name="format", description="Of the answer.")] = "yaml",
) -> Response[bytes]:
    """Everything declared as documents that `apply` reads."""
    resources = await plane.resources.export()
    text = await asyncio.to_thread(_written, resources, format_)
    return Response(text, media_type=f"application/{format_}")


HANDLERS = [list_resources, list_resources_of_kind, get_resource, delete_resource, apply, diff, export]


async def _documents(request: Request[Any, Any, Any]) -> tuple[Resource, ...]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise UnsupportedMediaType(
            "documents come as YAML or JSON", hint="send `content-type: application/yaml` or `application/json`"
        )
    # A large text takes a while to read; others go on.
    return await asyncio.to_thread(parse_documents, await request.body())


def _written(resources: tuple[Resource, ...], form: str) -> bytes:
    if form == "json":
        return msgspec.json.encode([Document.of(resource) for resource in resources])
    return yaml_text(resources).encode()


def _kind(text: str) -> Kind:
    kind = kind_of(text)
    if kind is None:
        raise NotFound(f"there is no kind `{text[:100]}`", hint=f"there are {', '.join(SPECS)}")
    return kind


def _listed(revision: int, resources: tuple[Resource, ...]) -> ResourceList:
    return ResourceList(revision=revision, resources=tuple(map(Document.of, resources)))


def _outcome(plan: Plan, revision: int | None, *, dry_run: bool) -> Outcome:
    return Outcome(
        revision=revision,
        base_revision=plan.revision,
        dry_run=dry_run,
        unchanged=plan.unchanged,
        changes=tuple(map(ChangeView.of, plan.changes)),
    )
