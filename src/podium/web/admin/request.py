"""A request whose JSON body is read as strictly as documents are."""

from typing import Any

from litestar import Request

from podium.control.yaml_nodes import read_json
from podium.core.errors import UnsupportedMediaType

__all__ = ["AdminRequest"]


class AdminRequest(Request[Any, Any, Any]):
    """Bounded nesting, no key twice, no number or string that could not be stored."""

    async def json(self) -> Any:
        """The value of the body."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in ("", "application/json"):
            raise UnsupportedMediaType("the body must be JSON", hint="send `content-type: application/json`")
        return read_json(await self.body())
