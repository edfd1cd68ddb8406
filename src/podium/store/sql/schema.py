"""Which schema a database has, and bringing it to the one that this Podium needs."""

from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from podium.core.errors import OperatorError
from podium.store.sql import rollout_tables
from podium.store.sql.tables import metadata

__all__ = ["SchemaState", "schema_state", "upgrade"]

if TYPE_CHECKING:
    from alembic.config import Config

assert rollout_tables.evidence.metadata is metadata  # its tables are part of the schema
_VERSION_TABLE = "alembic_version"
_SCRIPTS = "podium.store.sql:migrations"


class SchemaState(Enum):
    """How a database's schema compares."""

    EMPTY = "nothing is there"
    OLDER = "an earlier version's, whole"
    CURRENT = "as needed"


def schema_state(connection: Connection) -> SchemaState:
    """Look, and change nothing. OperatorError: a newer schema, or one that is not whole."""
    tables = set(inspect(connection).get_table_names())
    found: list[str] = []
    if _VERSION_TABLE in tables:
        found = list(connection.scalars(text(f"SELECT version_num FROM {_VERSION_TABLE}")))  # noqa: S608 - a constant
    if not found:
        if ours := tables & set(metadata.tables):
            raise _half_done(f"has the table `{min(ours)}` but no schema version")
        return SchemaState.EMPTY
    if len(found) > 1:
        raise _half_done("has more than one schema version")
    known, head = _revisions()
    if found[0] not in known:
        raise OperatorError(
            f"the database has the schema `{found[0]}`, which this Podium does not know",
            hint="a newer Podium upgraded it: start that version, or restore a backup from before the upgrade",
        )
    if found[0] != head:
        return SchemaState.OLDER
    _check_columns(connection, tables)
    return SchemaState.CURRENT


def _check_columns(connection: Connection, tables: set[str]) -> None:
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        if table.name not in tables:
            raise _half_done(f"has no table `{table.name}`")
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        if missing := {column.name for column in table.columns} - columns:
            raise _half_done(f"has no column `{table.name}.{min(missing)}`")


def _half_done(what: str) -> OperatorError:
    return OperatorError(
        f"the database's schema is not whole: it {what}",
        hint="an upgrade was interrupted, or the database is used by something else: restore a backup,"
        " or give Podium an empty database",
    )


def _revisions() -> tuple[set[str], str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - only at start, and slow to import

    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    assert head is not None
    return {script.revision for script in scripts.walk_revisions()}, head


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the transaction that `connection` is in. OperatorError: the database refuses it."""
    from alembic import command  # noqa: PLC0415 - as above

    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        if not _refused(error):
            raise
        raise OperatorError(
            f"the database's schema cannot be brought to this version's: {str(error.orig).splitlines()[0]}",
            hint="nothing was changed, and the version before can run on: mend what the database complains about,"
            " then start this version again",
        ) from error


def _refused(error: DBAPIError) -> bool:
    """The database understood a step and will not do it; otherwise it could not be asked."""
    if isinstance(error, ProgrammingError | IntegrityError):
        return True
    return getattr(error.orig, "sqlite_errorname", "") == "SQLITE_ERROR"
