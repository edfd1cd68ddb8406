"""The process' door to the shared store: few connections, batches, and a hard limit to every wait.

Rules
1. Calls made in one turn of the event loop, or while all connections are at work, go out together: one round trip.
2. A call ends within `timeout_ms`, its turn and the answer together, whatever the store does. A store that is known to
   be down, or to forbid what is needed, costs nothing: the call fails at once.
3. Waiting for a turn is not a failure of the store: only what was sent and not answered counts against it.
4. A call that met a broken connection is sent again if its time allows, on each connection once and on a new one, so
   every call must be one that may be executed twice.
5. Connections are opened, and the store is looked at, beside the calls.
6. Calls that ask the same merger and wait one behind the other go out as one command.
7. Who has something to say that nobody waits for is asked for it before each round trip; it goes out first.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

from redis.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from podium.store.redis.circuit import Circuit, StoreState
from podium.store.redis.connection import Command, RedisConnection, words_of
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.figures import Figures
from podium.store.redis.merging import Merger, commands_of, spread
from podium.store.redis.settings import RedisSettings

__all__ = ["PROBE", "RedisClient", "forbids"]

_LARGEST_BATCH = 128  # scripts take a server 10 ms then: several batches end within the usual time limit
PROBE: Command = ("EVAL", "return redis.call('TIME')", 0)  # shows that scripts may run, and tells the time
# Of a command that was renamed away; and from inside of a script, before and since Redis 7.
_FORBIDDEN = ("unknown command", "Unknown Redis command", "can't run this command", "ACL failure in script")
_CANNOT = ("MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "BUSY", "UNKILLABLE", "MOVED", "ASK", "TRYAGAIN")


class _Call:
    __slots__ = ("answer", "ask", "command", "deadline_s", "merger", "turns")

    def __init__(
        self,
        command: Command,
        answer: "asyncio.Future[Any]",
        deadline_s: float,
        merger: Merger | None,
        ask: Sequence[Any],
    ) -> None:
        self.command, self.answer, self.deadline_s = command, answer, deadline_s
        self.merger, self.ask = merger, ask
        self.turns = 0  # connections that broke under it


class RedisClient:
    """One for each process. As an async context manager it is open in the block; it opens though the store is away."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.figures = Figures()
        self._circuit = Circuit(settings.failures_to_open, self.figures)
        self._timeout_s = settings.timeout_ms / 1000
        self._calls: deque[_Call] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()  # connections that wait for calls
        self._woken = False  # one of them is about to take what waits
        self._wanted = False  # a round trip, though nobody waits for an answer
        self._fill: list[Callable[[], None]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._connected = 0
        self._opening = 0
        self._offset_us = 0  # the server's clock minus our monotonic one, at most
        self._lanes: list[asyncio.Task[None]] = []
        self._first_look = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._lanes = [
            self._loop.create_task(self._lane(), name=f"redis-{number}") for number in range(self.settings.connections)
        ]
        # A store that is there is known before the first call; one that is away is not waited for longer.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first_look.wait(), self.settings.connect_timeout_ms / 1000)
        return self

    async def __aexit__(self, *_: object) -> None:
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._circuit.forbid("the client is closed")
        self._fail_waiting(StoreTrouble.DOWN, "the client is closed")

    @property
    def state(self) -> StoreState:
        """Whether calls are sent."""
        return self._circuit.state

    @property
    def sentence(self) -> str:
        """Why not; empty while they are."""
        return self._circuit.sentence

    @property
    def waiting(self) -> int:
        """Calls whose turn has not come."""
        return len(self._calls)

    def deadline_s(self) -> float:
        """When a call that is made now ends at the latest, by the loop's clock."""
        return self._loop.time() + self._timeout_s

    def send(self, *command: str | bytes | int, deadline_s: float | None = None) -> "asyncio.Future[Any]":
        """The answer to come. It fails with StoreUnavailable, or ResponseError when the command itself is wrong.

        `deadline_s`: of an earlier call that this one goes on with. Raises StoreUnavailable when it is not even worth
        to wait.
        """
        return self._send(command, None, (), deadline_s)

    def ask(self, merger: Merger, ask: Sequence[Any], *, deadline_s: float | None = None) -> "asyncio.Future[Any]":
        """As `send`, of a command that others may be in, too: the answers to come of the steps of this `ask`."""
        return self._send((), merger, ask, deadline_s)

    def _send(
        self, command: Command, merger: Merger | None, ask: Sequence[Any], deadline_s: float | None
    ) -> "asyncio.Future[Any]":
        self._circuit.check()
        if len(self._calls) >= self.settings.queue:
            self.figures.troubles[StoreTrouble.BUSY] += 1
            raise StoreUnavailable(StoreTrouble.BUSY, f"{len(self._calls)} calls wait already")
        if deadline_s is None:
            call = _Call(command, self._loop.create_future(), self._loop.time() + self._timeout_s, merger, ask)
            self._calls.append(call)
        else:
            call = _Call(command, self._loop.create_future(), deadline_s, merger, ask)
            self._go_on(call)
        self._wake()
        if self._sweeper is None:
            self._sweeper = self._loop.call_at(call.deadline_s, self._sweep)
        return call.answer

    def _go_on(self, call: _Call) -> None:
        """Put a call before all younger ones."""
        if call.deadline_s <= self._loop.time():
            self.figures.troubles[StoreTrouble.TIMEOUT] += 1
            raise StoreUnavailable(StoreTrouble.TIMEOUT, "no answer in time")
        self._calls.appendleft(call)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def before_each_batch(self, fill: Callable[[], None]) -> None:
        """Call this before each round trip: what it asks for goes along, before what waits."""
        self._fill.append(fill)

    def want_round_trip(self) -> bool:
        """Have one made soon though nobody waits for an answer; False: the store is away, and none will be made."""
        if self.state is not StoreState.UP or not self._connected:
            return False
        if self._idle:
            self._wake()
        else:
            self._wanted = True
        return True

    def deadline_us(self) -> int:
        """The latest moment, in the server's time, at which a call made now is of use; 0 when that is not known."""
        if not self._offset_us:
            return 0
        return self._offset_us + time.monotonic_ns() // 1000 + self.settings.timeout_ms * 1000

    def learn_time(self, server_us: int) -> None:
        """The server said that it is so late: its clock was set, or it is another server."""
        self._offset_us = server_us - time.monotonic_ns() // 1000 + self.settings.timeout_ms * 1000

    def forbid(self, sentence: str) -> None:
        """Mark the store as unusable until a probe finds otherwise."""
        self._circuit.forbid(sentence)
        self._fail_waiting(StoreTrouble.UNUSABLE, sentence)

    def _wake(self) -> None:
        if not self._woken and self._idle:
            self._woken = True
            _finish(self._idle.popleft())  # one that its own timer has just finished looks, too

    def _sweep(self) -> None:
        """Fail the calls whose time has passed while they waited for their turn."""
        self._sweeper = None
        now_s = self._loop.time()
        expired = []
        while self._calls and (self._calls[0].deadline_s <= now_s or self._calls[0].answer.done()):
            expired.append(self._calls.popleft())
        if self._connected:
            self._fail(expired, StoreTrouble.BUSY, "the turn did not come in time")
        else:
            self._fail(expired, StoreTrouble.BROKEN, "no connection in time")
        if self._calls:
            self._sweeper = self._loop.call_at(self._calls[0].deadline_s, self._sweep)

    async def _lane(self) -> None:
        """Keep a connection and serve calls on it, for ever."""
        while True:
            connection = RedisConnection(self.settings)
            try:
                if await self._opened(connection):
                    await self._serve(connection)
                    continue  # it broke: try again without delay, once
            except Exception as error:  # noqa: BLE001 - a task's boundary: a lane that ended would hang all calls
                self._circuit.open(f"unexpected: {words_of(error)}")
                self._fail_waiting(StoreTrouble.BROKEN, self._circuit.sentence)
            finally:
                await connection.close()
            await asyncio.sleep(self.settings.probe_interval_ms / 1000)

    async def _opened(self, connection: RedisConnection) -> bool:
        self._opening += 1
        try:
            async with asyncio.timeout(self.settings.connect_timeout_ms / 1000):
                await connection.open()
            usable = await self._probe(connection)
        except (RedisError, OSError) as error:
            self._circuit.failed(words_of(error))
            # Another attempt may be younger than what broke this one, a restart for example.
            if not self._connected and self._opening == 1:
                self._circuit.open(words_of(error))
                self._fail_waiting(StoreTrouble.BROKEN, words_of(error))
            usable = False
        else:
            self.figures.connects += 1
        finally:
            self._opening -= 1
        self._first_look.set()
        return usable

    async def _probe(self, connection: RedisConnection) -> bool:
        """True when the store answers in time and lets us run scripts; else the circuit knows why not."""
        sent_us = time.monotonic_ns() // 1000
        async with asyncio.timeout(self._timeout_s):
            (answer,) = await connection.exchange((PROBE,))
        if isinstance(answer, ResponseError):
            if not forbids(answer):
                raise answer
            self.forbid(f"it forbids scripts (EVAL): {answer}")
            return False
        self._offset_us = int(answer[0]) * 1_000_000 + int(answer[1]) - sent_us
        self._circuit.probed()
        return True

    async def _serve(self, connection: RedisConnection) -> None:
        """Serve calls until the connection breaks."""
        self._connected += 1
        looked_s = self._loop.time()
        interval_s = self.settings.probe_interval_ms / 1000
        try:
            while True:
                if not (self._calls or self._wanted):
                    await self._next_calls(looked_s + interval_s)
                self._wanted = False
                self._fill_in()
                self._woken = False
                if batch := self._take():
                    if self._calls:
                        self._wake()
                    if not await self._answered(connection, batch):
                        return
                if self._loop.time() - looked_s >= interval_s:
                    if not await self._still_there(connection):
                        return
                    looked_s = self._loop.time()
        finally:
            self._connected -= 1

    async def _next_calls(self, until_s: float) -> None:
        waiter = self._loop.create_future()
        self._idle.append(waiter)
        timer = self._loop.call_at(until_s, _finish, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            if waiter in self._idle:  # an error of `remove` would describe the waiter, which takes long
                self._idle.remove(waiter)

    async def _still_there(self, connection: RedisConnection) -> bool:
        try:
            return await self._probe(connection)
        except TimeoutError as error:
            self._circuit.failed(words_of(error))
        except (RedisError, OSError):
            pass  # an old connection may break; whether a new one can be made decides
        return False

    def _fill_in(self) -> None:
        """Put what has to be said before what waits."""
        waiting, self._calls = self._calls, deque()
        self._woken = True  # no other connection needs to look
        try:
            for fill in self._fill:
                fill()
        finally:
            self._calls.extend(waiting)

    def _take(self) -> list[_Call]:
        """The calls of the next round trip; those that nobody waits for any more are left out."""
        batch: list[_Call] = []
        now_s = self._loop.time()
        while self._calls and len(batch) < _LARGEST_BATCH and self._calls[0].deadline_s > now_s:
            call = self._calls.popleft()
            if not call.answer.done():
                batch.append(call)
        return batch

    async def _answered(self, connection: RedisConnection, batch: list[_Call]) -> bool:
        """Send a batch and hand out the answers. False: the connection is of no use any more."""
        self.figures.round_trips += 1
        try:
            async with asyncio.timeout_at(min([call.deadline_s for call in batch])):
                commands, counts = commands_of(batch)
                answers = spread(batch, counts, await connection.exchange(commands))
        except TimeoutError as error:  # before OSError, which it is
            self._note_failure(batch, StoreTrouble.TIMEOUT, words_of(error))
        except (RedisError, OSError) as error:
            self._broken(batch, words_of(error))
        except BaseException as error:  # the client is closed, or a bug: nobody is left waiting
            self._fail(batch, StoreTrouble.BROKEN, words_of(error))
            raise
        else:
            self._circuit.answered()
            self._hand_out(batch, answers)
            return True
        return False

    def _broken(self, batch: list[_Call], sentence: str) -> None:
        """Give the calls of a broken connection another turn; those that met all connections broken fail."""
        for call in batch:
            call.turns += 1
        most = self.settings.connections
        if spent := [call for call in batch if call.turns > most]:
            self._note_failure(spent, StoreTrouble.BROKEN, sentence)
        self._calls.extendleft(call for call in reversed(batch) if call.turns <= most)
        if self._calls and self._sweeper is None:
            self._sweeper = self._loop.call_at(self._calls[0].deadline_s, self._sweep)
        if self._circuit.state is not StoreState.UP:
            self._fail_waiting(StoreTrouble.BROKEN, sentence)
        else:
            self._wake()

    def _hand_out(self, batch: list[_Call], answers: list[Any]) -> None:
        for call, answer in zip(batch, answers, strict=True):
            if call.answer.done():
                continue
            if not isinstance(answer, ResponseError):
                self.figures.calls += 1
                call.answer.set_result(answer)
            elif isinstance(answer, ReadOnlyError | OutOfMemoryError) or str(answer).startswith(_CANNOT):
                self._note_failure([call], StoreTrouble.REFUSED, str(answer))
            else:
                self.figures.calls += 1
                call.answer.set_exception(answer)

    def _note_failure(self, batch: list[_Call], trouble: StoreTrouble, sentence: str) -> None:
        was_up = self._circuit.state is StoreState.UP
        self._circuit.failed(sentence)
        self._fail(batch, trouble, sentence)
        if was_up and self._circuit.state is not StoreState.UP:
            self._fail_waiting(trouble, sentence)

    def _fail_waiting(self, trouble: StoreTrouble, sentence: str) -> None:
        waiting, self._calls = list(self._calls), deque()
        self._fail(waiting, trouble, sentence)

    def _fail(self, calls: list[_Call], trouble: StoreTrouble, sentence: str) -> None:
        for call in calls:
            if not call.answer.done():
                self.figures.troubles[trouble] += 1
                call.answer.set_exception(StoreUnavailable(trouble, sentence))


def forbids(error: ResponseError) -> bool:
    """True when the server knows the command and does not let us, or was told to forget it."""
    return isinstance(error, NoPermissionError) or any(sign in str(error) for sign in _FORBIDDEN)


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
