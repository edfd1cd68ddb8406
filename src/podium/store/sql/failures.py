"""What a database driver raises, in Podium's words."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from podium.core.errors import OperatorError, PodiumError, Unavailable

__all__ = ["translated"]

_DAMAGED = ("file is not a database", "database disk image is malformed")


@contextmanager
def translated() -> Iterator[None]:
    """Raise `Unavailable` when the database cannot be reached or does not answer in time.

    Violated constraints and wrong SQL pass as they are: the first mean something to the caller, the
    second are bugs.
    """
    try:
        yield
    except (IntegrityError, ProgrammingError, PodiumError):
        raise
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_ERROR":  # wrong SQL, in SQLite's words
            raise
        raise _podium_error(error.orig or error) from error
    except (PoolTimeout, OSError) as error:
        raise _podium_error(error) from error
    except Exception as error:
        # asyncpg raises its own while it connects: SQLAlchemy does not wrap those.
        if not type(error).__module__.startswith("asyncpg."):
            raise
        raise _podium_error(error) from error


def _podium_error(error: BaseException) -> PodiumError:
    words = str(error) or type(error).__name__
    if any(sign in words for sign in _DAMAGED):
        return OperatorError(
            "the database file is damaged, or is not an SQLite database", hint="restore it from a backup"
        )
    return Unavailable("The database cannot be reached.", hint=f"database: {words}", retry_after_s=1.0)
