"""What lies on disk and in the database."""

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from podium.cli._finding import Finding, fail, ok, warn
from podium.core.errors import OperatorError

if TYPE_CHECKING:
    from podium.config import Settings
    from podium.core.snapshot import Snapshot

__all__ = [
    "check_database",
    "check_journals",
    "check_models",
    "check_shared_store",
    "check_snapshot",
    "published_snapshot",
]

_MIB = 1 << 20
_OLD_SEGMENT_S = 900.0


def check_models(settings: "Settings") -> Finding:
    """The built-in models are there and have the right checksums."""
    from podium.engine.catalogue import CATALOGUE  # noqa: PLC0415 - only where used
    from podium.engine.model_store import verify  # noqa: PLC0415

    store = settings.engine.store_folder(settings.data)
    missing = [name for name in CATALOGUE if not (store / f"{name}.json").is_file()]
    for name, model in CATALOGUE.items():
        if name not in missing:
            try:
                verify(model, store)
            except OperatorError as error:
                return fail("models", error.message, error.hint)
    if missing:
        return warn(
            "models",
            f"not in {store} yet: {', '.join(missing)}",
            "The first start fetches them; `podium models fetch` does it now.",
        )
    return ok("models", f"{', '.join(CATALOGUE)}: there, checksums right")


def check_database(settings: "Settings") -> Finding:
    """The database answers."""
    url = settings.database.url
    if url is not None and not url.startswith("sqlite"):
        return _check_postgres(url, settings.database.connect_timeout_s)
    path = settings.data.database_file if url is None else Path(url.partition("///")[2])
    if not path.exists():
        return ok("database", f"{path} is not there yet; the first start creates it")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=3.0)
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return fail("database", f"{path} cannot be read: {error}", "Put it back from a backup.")
    return ok("database", f"{path} answers ({tables} tables, {path.stat().st_size // _MIB:,} MiB)")


def _check_postgres(url: str, timeout_s: float) -> Finding:
    import asyncio  # noqa: PLC0415 - only where used

    try:
        import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError:
        return fail("database", "PostgreSQL is set, but asyncpg is not installed", "pip install 'podium[postgres]'")

    async def version() -> str:
        connection = await asyncpg.connect("postgresql://" + url.partition("://")[2], timeout=timeout_s)
        try:
            return str(await connection.fetchval("SHOW server_version", timeout=timeout_s))
        finally:
            await connection.close(timeout=timeout_s)

    try:
        found = asyncio.run(version())
    except (OSError, ValueError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        text = str(error) or type(error).__name__
        return fail("database", f"PostgreSQL does not answer: {text}", "Is `database.url` right, and the server up?")
    return ok("database", f"PostgreSQL {found} answers")


def check_shared_store(settings: "Settings") -> Finding:
    """The store that gateways share answers in time and lets us run scripts."""
    name = "shared store"
    if settings.redis.url is None:
        return ok(name, "none; each gateway counts for itself")
    try:
        from podium.store.redis.look import look_at_store  # noqa: PLC0415 - an extra
    except ImportError:
        return fail(name, "redis.url is set, but redis is not installed", "pip install 'podium[redis]'")

    import asyncio  # noqa: PLC0415 - only where used

    seen = asyncio.run(look_at_store(settings.redis))
    if seen.trouble:
        return fail(
            name,
            f"{seen.trouble}; limits and budgets are at local shares",
            "Is `redis.url` right, the server up, and may the user run EVAL and EVALSHA?",
        )
    text = f"{seen.version} answers in {seen.answer_ms:.1f} ms; {seen.gateways} gateways share it"
    if seen.policy not in ("noeviction", ""):
        return warn(
            name,
            f"{text}, but it forgets what it pleases when its memory is full (maxmemory-policy {seen.policy})",
            "Set maxmemory-policy to noeviction: what it forgets is used twice.",
        )
    if seen.answer_ms * 4 > settings.redis.timeout_ms:
        return warn(
            name,
            f"{text}, while a call waits {settings.redis.timeout_ms} ms at most",
            "Put it nearer to the gateways, or raise `redis.timeout_ms`.",
        )
    return ok(name, text)


def check_journals(settings: "Settings") -> Finding:
    """What gateways wrote is taken into the ledger."""
    from podium.store.journal_reader import list_segments  # noqa: PLC0415 - only where used

    root = settings.data.journals
    if not root.is_dir():
        return ok("journal", "nothing written yet")
    damaged = sorted(root.glob("*/*.damaged"))
    if damaged:
        return warn(
            "journal", f"{len(damaged)} damaged pieces, e.g. {damaged[0]}", "Look at the disk; remove them when done."
        )
    files = [segment.path.stat() for segment in list_segments(root) if segment.path.exists()]
    waiting = [one for one in files if one.st_size]
    text = f"{len(waiting)} segments, {sum(one.st_size for one in waiting) // _MIB:,} MiB"
    if waiting and time.time() - min(one.st_mtime for one in waiting) > _OLD_SEGMENT_S:
        return warn("journal", f"{text} wait for the ledger", "`podium control` loads them; is it running?")
    return ok("journal", text)


def check_snapshot(settings: "Settings") -> Finding:
    """A gateway could start from the snapshot alone."""
    if not settings.data.snapshot_file.exists():
        return ok("snapshot", "none yet; the control process publishes it")
    snapshot = published_snapshot(settings)
    if snapshot is None:
        return fail("snapshot", f"its seal cannot be checked without {settings.data.secret_file}")
    age_s = max(0, int(time.time() - snapshot.published_unix_s))
    return ok(
        "snapshot",
        f"revision {snapshot.revision}, {age_s:,} s old: {len(snapshot.models)} models, {len(snapshot.keys)} keys",
    )


def published_snapshot(settings: "Settings") -> "Snapshot | None":
    """What gateways serve from; None when there is none, or no secret to check its seal with. OperatorError."""
    from podium.identity.keys import derive_secret  # noqa: PLC0415 - only where used
    from podium.store.snapshot_file import read_snapshot  # noqa: PLC0415

    path = settings.data.snapshot_file
    given = settings.identity.root_secret
    root = _root_secret(settings.data.secret_file) if given is None else bytes.fromhex(given)
    return None if root is None or not path.exists() else read_snapshot(path, derive_secret(root, "snapshot"))


def _root_secret(path: Path) -> bytes | None:
    try:
        return bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError):
        return None
