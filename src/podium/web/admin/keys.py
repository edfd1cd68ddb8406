"""`/keys`: API keys."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from podium.control.keys import IssuedKey, Labels, NewKey
from podium.control.plane import ControlPlane
from podium.control.usage import UsageReport
from podium.web.admin.injected import Author, Plane
from podium.web.admin.openapi import errors
from podium.web.admin.shapes import KeyView
from podium.web.admin.usage import Groups, Since, Until, usage_query

__all__ = ["HANDLERS", "CreatedKey", "KeyList", "Rotation"]


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """API keys, oldest first."""

    keys: tuple[KeyView, ...]


class CreatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its clear text."""

    api_key: Annotated[str, Meta(description="What callers send as a bearer token. Shown this once.")]
    key: KeyView


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to rotate."""

    grace_s: Annotated[
        float,
        Meta(description="How long the old secret still works; 0: not at all.", ge=0, le=7_776_000),
    ] = 86_400.0


@get("/keys", operation_id="listKeys", tags=["keys"], responses=errors())
async def list_keys(
    plane: Plane,
    *,
    tenant: Annotated[str | None, QueryParameter(description="Only this tenant's.")] = None,
    live: Annotated[bool, QueryParameter(description="Only those that are neither revoked nor expired.")] = False,
) -> KeyList:
    """List API keys, revoked and expired ones too."""
    views = (KeyView.of(record, _now(plane)) for record in await plane.keys.all(tenant=tenant))
    return KeyList(keys=tuple(view for view in views if view.live or not live))


@post("/keys", operation_id="createKey", tags=["keys"], responses=errors(409, 413, 415))
async def create_key(plane: Plane, author: Author, data: JSONBody[NewKey]) -> CreatedKey:
    """Create an API key. Its clear text is in the answer, and nowhere else."""
    return _created(await plane.keys.create(data, created_by=author), plane)


@get("/keys/{key_id:str}", operation_id="getKey", tags=["keys"], responses=errors(404))
async def get_key(plane: Plane, key_id: FromPath[str]) -> KeyView:
    """Get one API key."""
    return KeyView.of(await plane.keys.get(key_id), _now(plane))


@post(
    "/keys/{key_id:str}/rotate",
    operation_id="rotateKey",
    tags=["keys"],
    status_code=200,
    responses=errors(404, 409, 413, 415),
)
async def rotate_key(plane: Plane, author: Author, key_id: FromPath[str], data: JSONBody[Rotation]) -> CreatedKey:
    """Give an API key a new secret; the old one works until its grace ends."""
    return _created(await plane.keys.rotate(key_id, grace_s=data.grace_s, author=author), plane)


@post(
    "/keys/{key_id:str}/label",
    operation_id="labelKey",
    tags=["keys"],
    status_code=200,
    responses=errors(404, 409, 413, 415),
)
async def label_key(plane: Plane, author: Author, key_id: FromPath[str], data: JSONBody[Labels]) -> KeyView:
    """Change the tier and the tags of an API key; every gateway knows them within 2 seconds."""
    return KeyView.of(await plane.keys.label(key_id, data, author=author), _now(plane))


@post(
    "/keys/{key_id:str}/revoke",
    operation_id="revokeKey",
    tags=["keys"],
    status_code=200,
    responses=errors(404, 409),
)
async def revoke_key(plane: Plane, author: Author, key_id: FromPath[str]) -> KeyView:
    """End an API key for good; every gateway refuses it within 2 seconds."""
    return KeyView.of(await plane.keys.revoke(key_id, author=author), _now(plane))


@get("/keys/{key_id:str}/usage", operation_id="getKeyUsage", tags=["keys"], responses=errors(404))
async def get_key_usage(
    plane: Plane, key_id: FromPath[str], by: Groups = None, since_unix_s: Since = None, until_unix_s: Until = None
) -> UsageReport:
    """Add up what an API key used."""
    await plane.keys.get(key_id)
    return await plane.usage.report(usage_query(by, since_unix_s, until_unix_s, key_id=key_id))


HANDLERS = [list_keys, create_key, get_key, rotate_key, label_key, revoke_key, get_key_usage]


def _now(plane: ControlPlane) -> float:
    return plane.clock.unix_ns() / 1e9


def _created(issued: IssuedKey, plane: ControlPlane) -> CreatedKey:
    return CreatedKey(api_key=issued.text, key=KeyView.of(issued.record, _now(plane)))
