"""The journals of all gateways, as the control plane's loader reads them."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import msgspec
import structlog

from podium.control.loader import Batch, Segment
from podium.core.event import Event
from podium.core.records import Opinion, Unknown, decode_record
from podium.store.journal_reader import SegmentRead, close_abandoned, list_segments, read_segment
from podium.store.journal_segment import CLOSED_SUFFIX, OPEN_SUFFIX, lock_folder

__all__ = ["JournalFolders"]

_log = structlog.get_logger("podium.journal")
_BYTES_PER_EVENT = 1024  # more than most take; only decides how much is read at once
_LOOK_FOR_ABANDONED_S = 5.0


class JournalFolders:
    """Reads and deletes segments below `root`; all file work is done in threads.

    Bytes that hold no readable record are kept beside the segment, as `<segment>-<position>.damaged`,
    for people to look at; records of kinds that only a newer Podium knows likewise, as `.newer`. Open segments of a
    gateway that is gone are closed here.
    """

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        """`alone`: nothing is listed until no other such reader, in any process, has the folder."""
        self._root = root
        self._abandoned_due_s = 0.0
        self._alone = alone
        self._lock: int | None = None

    async def take(self) -> bool:
        """Whether the folder is ours from now on, or was already; until `give_back`, or the end of the process."""
        return await asyncio.to_thread(self._take)

    def _take(self) -> bool:
        if self._lock is None and self._root.is_dir():
            self._lock = lock_folder(self._root)
        return self._lock is not None

    def give_back(self) -> None:
        """Let others have the folder."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    async def segments(self) -> tuple[Segment, ...]:
        """All segments, those of one gateway oldest first."""
        return await asyncio.to_thread(self._list)

    async def read(self, source: str, position: int, limit: int) -> Batch:
        """At most `limit` records from byte `position` on; FileNotFoundError: the segment is gone."""
        return await asyncio.to_thread(self._read, source, position, limit)

    async def delete(self, source: str) -> None:
        """Remove a closed segment; no error when it is gone."""
        path = self._root / (source + CLOSED_SUFFIX)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    def _list(self) -> tuple[Segment, ...]:
        if self._alone and not self._take():
            return ()
        now_s = time.monotonic()
        if now_s >= self._abandoned_due_s:
            self._abandoned_due_s = now_s + _LOOK_FOR_ABANDONED_S
            self._close_abandoned()
        listed = []
        for segment in list_segments(self._root):
            with contextlib.suppress(FileNotFoundError):  # renamed just now: it is listed the next time
                listed.append(Segment(segment.source, segment.path.stat().st_size, segment.closed))
        return tuple(listed)

    def _close_abandoned(self) -> None:
        for folder in {segment.path.parent for segment in list_segments(self._root) if not segment.closed}:
            try:
                if close_abandoned(folder):
                    _log.info("journal_of_ended_gateway_closed", gateway=folder.name)
            except OSError as error:
                _log.warning("journal_of_ended_gateway_not_closed", gateway=folder.name, error=str(error))

    def _read(self, source: str, position: int, limit: int) -> Batch:
        # The open name first: `read_segment` follows a segment that is closed meanwhile, not the other way.
        path = self._root / (source + OPEN_SUFFIX)
        read = read_segment(path, position, max_records=limit, max_bytes=limit * _BYTES_PER_EVENT)
        damaged = self._keep_gaps(path, read)
        events: list[Event] = []
        opinions: list[Opinion] = []
        unknown = 0
        for number, record in enumerate(read.records):
            try:
                found = decode_record(record)
            except msgspec.DecodeError:
                damaged += len(record)
                self._keep(path, f"{position}.{number}.damaged", record)
                continue
            if isinstance(found, Event):
                events.append(found)
            elif isinstance(found, Unknown):
                unknown += 1
                self._keep(path, f"{position}.{number}.newer", record)
            else:
                opinions.append(found)
        return Batch(tuple(events), read.position, damaged, tuple(opinions), unknown)

    def _keep_gaps(self, path: Path, read: SegmentRead) -> int:
        for gap in read.gaps:
            closed = path.with_suffix("")
            with contextlib.suppress(FileNotFoundError), (closed if read.closed else path).open("rb") as file:
                file.seek(gap.position)
                self._keep(path, f"{gap.position}.damaged", file.read(gap.length))
        return sum(gap.length for gap in read.gaps)

    def _keep(self, path: Path, end: str, data: bytes) -> None:
        kept = path.with_name(f"{path.name.removesuffix(OPEN_SUFFIX)}-{end}")
        try:
            kept.write_bytes(data)
        except OSError as error:
            _log.warning("damaged_bytes_not_kept", file=kept.name, error=str(error))
