"""Where control tells gateways that share no budgets what was spent."""

from typing import TYPE_CHECKING, Union

from podium.config import Settings
from podium.identity.keys import derive_secret
from podium.store.truth_file import TruthFile

if TYPE_CHECKING:
    from podium.store.sql.database import Database
    from podium.store.sql.truth import SqlTruth

__all__ = ["budget_truth"]


def budget_truth(settings: Settings, root: bytes, database: "Database | None") -> Union[TruthFile, "SqlTruth"]:
    """Where gateways that share no budgets learn what was spent. `database` None: the data folder's SQLite is used."""
    key = derive_secret(root, "budgets")
    if database is None or database.is_sqlite:
        return TruthFile(settings.data.budgets_file, key)
    from podium.store.sql.truth import SqlTruth  # noqa: PLC0415 - SQL loads only where it is used

    return SqlTruth(database, key)
