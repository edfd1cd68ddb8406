"""A gateway that is alone on its machine brings its own journals into the ledger.

Control does it where it runs, for the gateways of its data folder: it takes the folder's lock and keeps it. A gateway
takes the lock, while nobody has it, for a turn of a few seconds, so that a control process that starts later gets it.
"""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from podium.config import Settings
from podium.control.loader import Loader
from podium.core.clock import Clock
from podium.core.errors import PodiumError
from podium.store.journal_folders import JournalFolders
from podium.store.sql.database import Database
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.schema import SchemaState

__all__ = ["JournalTurns"]

_log = structlog.get_logger("podium.journal")
_FIRST_S = 3.0  # a control process that starts at the same time is quicker
_TURN_S = 5.0
_BETWEEN_S = 0.5  # longer than control waits between two looks
_NOT_MINE_S = 5.0
_BATCH_EVENTS = 200  # so that no batch holds up the event loop for long


class JournalTurns:
    """Loads in turns, forever."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._database = database
        self._folders = JournalFolders(settings.data.journals, alone=True)
        self._loader = Loader(
            self._folders,
            SqlLedger(database),
            clock,
            batch_events=min(_BATCH_EVENTS, settings.control.loader_batch_events),
            poll_s=settings.control.loader_poll_s,
        )
        self._schema_known = False
        self._trouble = ""

    async def run(self) -> None:
        """Take turns. A failure is told and tried again."""
        await asyncio.sleep(_FIRST_S)
        try:
            while True:
                try:
                    wait_s = await self._turn()
                    self._trouble = ""
                except (PodiumError, OSError, SQLAlchemyError) as error:
                    self._tell(str(error) or type(error).__name__)
                    wait_s = _NOT_MINE_S
                await asyncio.sleep(wait_s)
        finally:
            self._folders.give_back()

    def _tell(self, trouble: str) -> None:
        """Once: an outage, or another version's schema, may last."""
        if trouble != self._trouble:
            _log.warning("journals_not_loaded", error=trouble)
        self._trouble = trouble

    async def _turn(self) -> float:
        """Load for a while if nobody else does; how long to wait then."""
        if not await self._folders.take():
            return _NOT_MINE_S
        try:
            if not self._schema_known:
                if await self._database.check() is not SchemaState.CURRENT:
                    return _NOT_MINE_S  # control upgrades it
                self._schema_known = True
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(_TURN_S, over.set)
            await self._loader.run(over)
        finally:
            self._folders.give_back()
        return _BETWEEN_S
