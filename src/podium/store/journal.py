"""The journal of one gateway: finished exchanges on local disk, many in one write.

1. `append` frames a record into a buffer; the first of a batch asks the loop for one flush.
2. The flush hands the whole buffer to the operating system in one write, then tells every waiter. From
   then on a killed process loses none of them.
3. Durability `interval`: a thread brings the file to the disk every 50 ms. Durability `disk`: write and
   fdatasync of a batch both happen in the thread, and the waiters hear of it after that; what arrives
   meanwhile is the next batch.
4. A batch that fails is cut off the file again and its waiters get the error. The segment is closed and
   never written again: a reader may have seen bytes of the failed batch, and positions must stay true.
5. Everything else that touches the disk (new segments, closing old ones, looking at free space, trying
   again after a failure) is done by one task in one thread, beside the traffic.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import structlog

from podium.core.errors import OperatorError
from podium.store.journal_format import FRAME_HEAD, HEADER_BYTES, MARKER, MAX_RECORD_BYTES
from podium.store.journal_reader import recover_segment
from podium.store.journal_segment import OPEN_SUFFIX, SegmentFile, lock_folder, sync_folder
from podium.store.settings import JournalSettings

__all__ = ["JournalWriter", "Written"]

Written = Callable[[OSError | None], None]
_Result = TypeVar("_Result")

_log = structlog.get_logger("podium.journal")
_pack_head = FRAME_HEAD.pack
_FRAME_HEAD_BYTES = FRAME_HEAD.size
_LOCK_WAIT_S = 5.0  # a killed process may need a moment to let go of its files
_STALL_S = 1.0  # a disk that takes longer than this is treated as full until it answers


class JournalWriter:
    """Appends records to the segments of `folder`. Belongs to one event loop; not thread-safe."""

    def __init__(self, folder: Path, settings: JournalSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._folder = folder
        self._settings = settings
        self._loop = loop
        self._flush_batch = self._write_batch if settings.durability == "interval" else self._start_group
        self._buffer = bytearray()
        self._waiting: list[Written] = []
        self._flush_due = False
        self._group: asyncio.Future[None] | None = None
        self._unsynced = False
        self._closing = False
        self._failure: OSError | None = None
        self._stalled = False
        self._low_on_space = False
        self._space_due_s = 0.0
        self._rotation_due_s = 0.0
        self._wake = asyncio.Event()
        self._segment: SegmentFile
        self._lock = -1
        self._keeper: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self.segments = 0
        """Segments in the folder, counted once a second; the loader deletes them."""
        self.backlog_bytes = 0
        """Bytes in the folder's segments, counted once a second: what the ledger may not have yet."""

    def open(self) -> None:
        """Take the folder, close what an earlier process left open, start a segment. Blocks; at start only.

        OperatorError: the folder cannot be written, or another process uses it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = self._take_lock()
            self._close_leftovers()
            self._segment = SegmentFile.create(self._folder)
            self._look_around()
        except OSError as error:
            self._unlock()
            raise OperatorError(
                f"the journal folder {self._folder} cannot be written: {error.strerror or error}",
                hint="make the folder writable, or free space, or choose another data folder",
            ) from error
        except OperatorError:
            self._unlock()
            raise
        self._keeper = self._loop.create_task(self._keep(), name="journal-keeper")

    def _close_leftovers(self) -> None:
        for path in sorted(self._folder.glob(f"*{OPEN_SUFFIX}")):
            if cut := recover_segment(path):
                _log.warning("journal_tail_cut", segment=path.name, bytes=cut)
        sync_folder(self._folder)

    def _take_lock(self) -> int:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while (lock := lock_folder(self._folder)) is None:
            if time.monotonic() > deadline:
                raise OperatorError(
                    f"another process writes the journal folder {self._folder}",
                    hint="give each gateway a name of its own, or stop the other process",
                )
            time.sleep(0.02)
        return lock

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # The hot path.

    def append(self, record: bytes, written: Written) -> None:
        """Add a record; `written` is called later, from the loop, with None or with what went wrong."""
        size = len(record)
        if size > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {size} bytes is over the limit of {MAX_RECORD_BYTES}")
        buffer = self._buffer
        buffer += _pack_head(MARKER, size, crc32(record, size))
        buffer += record
        self._waiting.append(written)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_batch)

    @property
    def accepting(self) -> bool:
        """New exchanges may start: the disk takes records, and has room for more."""
        return (
            self._failure is None
            and not self._low_on_space
            and not self._stalled
            and not self._closing
            and len(self._buffer) < self._settings.max_buffered_bytes
        )

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in memory for the disk."""
        return len(self._buffer)

    def _write_batch(self) -> None:
        """Durability `interval`: one write, here and now."""
        self._flush_due = False
        if not self._waiting:
            return
        data, waiting = self._take_batch()
        error = self._failure
        if error is None:
            try:
                self._segment.write(data)
            except OSError as failed:
                error = failed
                self._fail(failed)
            else:
                if not self._unsynced:
                    self._unsynced = True
                    self._wake.set()
        self._tell(waiting, error)

    def _start_group(self) -> None:
        """Durability `disk`: one write and one fdatasync in the thread; `_flush_due` stays set until its end."""
        data, waiting = self._take_batch()
        if self._failure is not None:
            self._flush_due = False
            self._tell(waiting, self._failure)
            return
        self._group = self._loop.run_in_executor(self._thread, _write_through, self._segment, data)
        self._group.add_done_callback(lambda group: self._end_group(group, waiting))

    def _end_group(self, group: asyncio.Future[None], waiting: list[Written]) -> None:
        self._group = None
        error: OSError | None = None
        if group.cancelled():
            error = OSError("the journal was closed")
        elif (failed := group.exception()) is not None:
            error = failed if isinstance(failed, OSError) else OSError(str(failed))
            self._fail(error)
        # First the next group, so that the disk works while the waiters are told.
        if self._waiting:
            self._start_group()
        else:
            self._flush_due = False
        self._tell(waiting, error)

    def _take_batch(self) -> tuple[bytearray, list[Written]]:
        batch = self._buffer, self._waiting
        self._buffer, self._waiting = bytearray(), []
        return batch

    def _tell(self, waiting: list[Written], error: OSError | None) -> None:
        for written in waiting:
            try:
                written(error)
            except Exception as broken:  # noqa: BLE001 - one waiter's bug must not reach the others
                self._loop.call_exception_handler(
                    {"message": "a journal callback failed", "exception": broken, "callback": written}
                )

    def _fail(self, error: OSError) -> None:
        if self._failure is None:
            _log.error("journal_failed", segment=self._segment.path.name, error=str(error))
        self._failure = error
        self._wake.set()

    # Beside the traffic.

    async def flush(self) -> None:
        """Wait until everything that was appended is on the disk. OSError: some of it is not."""
        if self._waiting or self._group is not None:
            done = self._loop.create_future()

            def written(error: OSError | None) -> None:
                if not done.done():
                    done.set_result(error)

            self._waiting.append(written)
            if not self._flush_due:
                self._flush_due = True
                self._loop.call_soon(self._flush_batch)
            if error := await done:
                raise error
        if self._failure is not None:
            raise self._failure
        await self._sync()

    async def close(self) -> None:
        """Flush, close the segment, release the folder; at most `close_timeout_s`. Appends after it fail."""
        if self._keeper is None:
            return
        self._closing = True
        keeper, self._keeper = self._keeper, None
        try:
            async with asyncio.timeout(self._settings.close_timeout_s):
                with contextlib.suppress(OSError):  # told to the waiters, and logged
                    await self.flush()
                self._wake.set()
                await keeper
                await self._in_thread(self._segment.seal)
        except (OSError, TimeoutError) as error:
            _log.error("journal_not_closed", segment=self._segment.path.name, error=str(error) or "timeout")
            keeper.cancel()
            self._segment.close()
        finally:
            self._failure = self._failure or OSError("the journal is closed")
            self._thread.shutdown(wait=False)
            self._unlock()

    async def _keep(self) -> None:
        """The one task that looks after the segments; ends when the journal closes."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._settings.probe_interval_s)
            self._wake.clear()
            if self._closing:
                return
            await asyncio.sleep(self._settings.sync_interval_ms / 1000)
            try:
                await self._look_after()
            except OSError as error:
                self._fail(error)
            except Exception:  # noqa: BLE001 - the keeper outlives a bug; the stack is logged
                _log.exception("journal_keeper_failed")

    async def _look_after(self) -> None:
        if self._unsynced and self._failure is None:
            await self._sync()
        now_s = time.monotonic()
        if now_s >= self._space_due_s:
            self._space_due_s = now_s + self._settings.probe_interval_s
            if self._failure is not None:
                await self._try_again()
            await self._in_thread(self._look_around)
        if self._failure is None and now_s >= self._rotation_due_s and self._is_full(now_s):
            await self._rotate(now_s)

    def _is_full(self, now_s: float) -> bool:
        segment = self._segment
        return segment.size >= self._settings.segment_bytes or (
            not segment.empty and now_s - segment.born_monotonic_s >= self._settings.segment_age_s
        )

    async def _rotate(self, now_s: float) -> None:
        """Start a new segment before the old one is closed; traffic moves over between two batches."""
        try:
            fresh = await self._in_thread(SegmentFile.create, self._folder)
        except OSError as error:
            # The old one still takes records; if the disk is full, writing will say so.
            self._rotation_due_s = now_s + self._settings.probe_interval_s
            _log.warning("journal_rotation_failed", error=str(error))
            return
        old, self._segment = self._segment, fresh
        try:
            # The thread works in order: batches that were given to it for `old` are done by then.
            await self._in_thread(old.seal)
        except OSError as error:
            # It stays readable under its open name; the next start closes it.
            _log.error("journal_segment_not_closed", segment=old.path.name, error=str(error))
            old.close()
            self._fail(error)

    async def _try_again(self) -> None:
        """After a failure: close the broken segment, start another, and accept again when that worked."""
        if self._group is not None:
            return
        try:
            await self._in_thread(self._segment.seal)
            self._segment = await self._in_thread(SegmentFile.create, self._folder)
        except OSError as error:
            _log.warning("journal_still_failing", error=str(error))
            return
        self._failure = None
        self._unsynced = False
        _log.info("journal_recovered", segment=self._segment.path.name)

    async def _sync(self) -> None:
        self._unsynced = False
        await self._in_thread(self._segment.sync)

    async def _in_thread(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        job = self._loop.run_in_executor(self._thread, work, *arguments)
        try:
            while not (await asyncio.wait({job}, timeout=_STALL_S))[0]:
                if not self._stalled:
                    self._stalled = True
                    _log.error("journal_stalled", waited_s=_STALL_S)
        finally:
            self._stalled = False
        return job.result()

    def _look_around(self) -> None:
        """Measure free space and what lies in the folder. Blocks."""
        disk = os.statvfs(self._folder)
        low = disk.f_bavail * disk.f_frsize < self._settings.min_free_bytes
        if low != self._low_on_space:
            self._low_on_space = low
            _log.log(40 if low else 20, "journal_space_low" if low else "journal_space_back")
        count, size = 0, 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name[:20].isdecimal():
                    with contextlib.suppress(FileNotFoundError):  # the loader deletes beside us
                        size += max(entry.stat().st_size - HEADER_BYTES, 0)
                        count += 1
        self.segments, self.backlog_bytes = count, size


def _write_through(segment: SegmentFile, data: bytearray) -> None:
    """Write and bring to the disk, or leave the file as it was."""
    before = segment.size
    segment.write(data)
    try:
        segment.sync()
    except OSError:
        segment.cut(before)
        raise
