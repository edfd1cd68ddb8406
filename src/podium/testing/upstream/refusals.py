"""A request that a provider would not take."""

from podium.testing.upstream.behaviours import Trouble

__all__ = ["Refused", "json_type_checked"]


class Refused(Exception):
    """`message` in the provider's words, or near them; `parameter` names the field."""

    def __init__(
        self, message: str, *, trouble: Trouble = Trouble.BAD_REQUEST, parameter: str | None = None, code: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.trouble = trouble
        self.parameter = parameter
        self.code = code


def json_type_checked(content_type: str | None) -> None:
    """Refuse a body that is not declared to be JSON."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(f"Content-Type must be application/json, not {content_type!r}")
