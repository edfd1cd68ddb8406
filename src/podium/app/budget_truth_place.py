"""Where control tells gateways that share no budgets what was spent."""

from podium.config import Settings
from podium.identity.keys import derive_secret
from podium.store.sql.database import Database
from podium.store.sql.truth import SqlTruth
from podium.store.truth_file import TruthFile

__all__ = ["budget_truth"]


def budget_truth(settings: Settings, root: bytes, database: Database | None) -> TruthFile | SqlTruth:
    """Where gateways that share no budgets learn what was spent. `database` None: the data folder's SQLite is used."""
    key = derive_secret(root, "budgets")
    if database is None or database.is_sqlite:
        return TruthFile(settings.data.budgets_file, key)
    return SqlTruth(database, key)
