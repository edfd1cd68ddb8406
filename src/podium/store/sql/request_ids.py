"""Finds exchanges by their request ids."""

import re
from typing import Any

from sqlalchemy import Select, select

from podium.store.sql.tables import callers_own, exchanges

__all__ = ["find_statements"]

_OURS = re.compile(r"req_([0-9a-f]{32})")  # as podium.core.exchange makes request ids


def find_statements(
    request_id: str, tenant: str | None, before: bytes | None, limit: int, *, sqlite: bool
) -> list[Select[Any]]:
    """Statements that find exchanges by a request id: callers' own by an index of those, ours by the exchange's id."""
    of = exchanges.c
    wanted = select(exchanges).where(of.request_id == request_id)
    if tenant is not None:
        wanted = wanted.where(of.tenant == tenant)
    if before is not None:
        wanted = wanted.where(of.id < before)
    statements = [wanted.where(callers_own(sqlite=sqlite)).order_by(of.id.desc()).limit(limit)]
    if ours := _OURS.fullmatch(request_id):  # a caller's own may look so too
        statements.append(wanted.where(of.id == bytes.fromhex(ours[1])))
    return statements
