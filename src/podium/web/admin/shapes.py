"""Answers of the admin API."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from podium.control.changes import FieldChange, field_changes
from podium.control.documents import document_of
from podium.control.keys import is_live
from podium.control.ports import ApiKeyRecord, Change, Revision
from podium.core.resources import Resource
from podium.core.tags import parse_tags

__all__ = ["ChangeView", "Document", "KeyView", "RevisionView", "SecretView"]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A declared resource; what `apply` reads."""

    kind: str
    name: str
    spec: Annotated[dict[str, Any], Meta(description="Fields that have their default are left out.")]

    @classmethod
    def of(cls, resource: Resource) -> "Document":
        """The document that declares `resource`."""
        return msgspec.convert(document_of(resource), cls)


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One resource before and after."""

    action: Literal["create", "update", "delete"]
    kind: str
    name: str
    before: Annotated[dict[str, Any] | None, Meta(description="The spec; null: was not there.")]
    after: Annotated[dict[str, Any] | None, Meta(description="The spec; null: deleted.")]
    fields: Annotated[tuple[FieldChange, ...], Meta(description="What differs, by key path.")]

    @classmethod
    def of(cls, change: Change) -> "ChangeView":
        """The view of `change`."""
        return cls(
            action="create" if change.before is None else "delete" if change.after is None else "update",
            kind=change.kind,
            name=change.name,
            before=change.before,
            after=change.after,
            fields=field_changes(change),
        )


class RevisionView(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the declared state."""

    number: int
    author: str
    message: str
    created_unix_s: float
    undoes: Annotated[int | None, Meta(description="The revision that this one takes back.")]
    changes: tuple[ChangeView, ...]

    @classmethod
    def of(cls, revision: Revision) -> "RevisionView":
        """The view of `revision`."""
        return cls(
            number=revision.number,
            author=revision.author,
            message=revision.message,
            created_unix_s=revision.created_unix_s,
            undoes=revision.undoes,
            changes=tuple(map(ChangeView.of, revision.changes)),
        )


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of a key; never the secret itself."""

    expires_unix_s: Annotated[float | None, Meta(description="End of a rotation's grace; null: no end.")]


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key."""

    id: Annotated[str, Meta(description="The public part of `pk_<id>_<secret>`.")]
    tenant: str
    name: str
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    admin: bool
    tier: Annotated[str, Meta(description="A label that limits may be set for; empty: the tenant's.")]
    tags: Annotated[dict[str, str], Meta(description="What its exchanges are told by, for budgets and usage.")]
    live: Annotated[bool, Meta(description="Neither revoked nor expired.")]
    created_unix_s: float
    created_by: str
    expires_unix_s: float | None
    revoked_unix_s: float | None
    secrets: tuple[SecretView, ...]

    @classmethod
    def of(cls, record: ApiKeyRecord, now_unix_s: float) -> "KeyView":
        """The view of `record`."""
        entry = record.entry
        return cls(
            id=entry.id,
            tenant=entry.tenant,
            name=entry.name,
            models=entry.models,
            endpoints=entry.endpoints,
            admin=entry.admin,
            tier=entry.tier,
            tags=parse_tags(entry.tags),
            live=is_live(entry, now_unix_s),
            created_unix_s=record.created_unix_s,
            created_by=record.created_by,
            expires_unix_s=entry.expires_unix_s,
            revoked_unix_s=entry.revoked_unix_s,
            secrets=tuple(SecretView(expires_unix_s=secret.expires_unix_s) for secret in entry.secrets),
        )
