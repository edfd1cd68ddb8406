"""Every change says who made it."""

from podium.core.errors import InvalidRequest

__all__ = ["check_author"]

_MAX_AUTHOR = 200


def check_author(author: str) -> None:
    """InvalidRequest when `author` cannot stand in a revision."""
    if not author.strip() or len(author) > _MAX_AUTHOR or not author.isprintable():
        raise InvalidRequest(
            f"an author is 1 to {_MAX_AUTHOR} printable characters",
            parameter="author",
            hint="every change says who made it",
        )
