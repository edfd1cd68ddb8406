"""Where things are in the data folder."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DataFolder"]


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder (`--data-dir`, `PODIUM_HOME`, default `.podium`). Knows names; creates nothing."""

    path: Path

    @property
    def secret_file(self) -> Path:
        """64 hex digits, mode 0600: the root of every keyed hash (see podium.identity.keys)."""
        return self.path / "secret.key"

    @property
    def admin_key_file(self) -> Path:
        """The first admin key, in clear, mode 0600."""
        return self.path / "admin.key"

    @property
    def database_file(self) -> Path:
        """The embedded SQLite database."""
        return self.path / "podium.db"

    @property
    def snapshot_file(self) -> Path:
        """The last published snapshot, sealed with an HMAC."""
        return self.path / "snapshot.bin"

    @property
    def budgets_file(self) -> Path:
        """What the ledger knows was spent of budgets, sealed with an HMAC."""
        return self.path / "budgets.bin"

    @property
    def journals(self) -> Path:
        """One folder of segments for each gateway."""
        return self.path / "journal"

    @property
    def models(self) -> Path:
        """Model files by digest."""
        return self.path / "models"

    @property
    def logs(self) -> Path:
        """Output of the child processes that `podium up` starts."""
        return self.path / "logs"

    @property
    def lock_file(self) -> Path:
        """Held while `podium up` runs on this folder."""
        return self.path / "podium.lock"
