import asyncio
import time

import pytest
from sqlalchemy import text

from podium.core.errors import OperatorError, Unavailable
from podium.store.sql.keys import SqlKeyStore
from podium.store.sql.lease import SqlLeaderLease
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.testing.events import make_event
from podium.testing.postgres_server import PostgresServer

LEASE = "INSERT INTO leases (name, holder, expires_unix_s) VALUES ('x', 'x', 1)"
COUNT = "SELECT count(*) FROM leases"


async def count(database):
    async with database.read() as connection:
        return await connection.scalar(text(COUNT))


async def test_an_exception_takes_the_transaction_back(database):
    async def break_off():
        async with database.write() as connection:
            await connection.execute(text(LEASE))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_off()
    assert await count(database) == 0


async def test_a_cancelled_transaction_is_taken_back_and_blocks_nobody(database):
    inside = asyncio.Event()

    async def hang():
        async with database.write() as connection:
            await connection.execute(text(LEASE))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database) == 0
    async with database.write() as connection:
        await connection.execute(text(LEASE))
    assert await count(database) == 1


async def test_a_reader_sees_one_state_while_others_write(database, other_database):
    async with database.read() as connection:
        before = await connection.scalar(text(COUNT))
        async with other_database.write() as writer:
            await writer.execute(text(LEASE))
        assert await connection.scalar(text(COUNT)) == before == 0
    assert await count(database) == 1


async def test_a_lock_that_another_process_holds_is_not_waited_for_for_ever(open_at, database_url, database):
    await SqlLedger(database).load("a/1", 1, (make_event(),))
    impatient = open_at(database_url, lock_timeout_s=0.2)
    async with database.write() as connection:
        await connection.execute(text("UPDATE usage_hours SET exchanges = exchanges"))
        started = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            await SqlLedger(impatient).load("a/1", 2, (make_event(),))
        assert time.monotonic() - started < 5
    assert raised.value.message == "The database cannot be reached."
    assert "lock" in raised.value.hint
    assert await SqlLedger(impatient).load("a/1", 2, (make_event(),)) == 1


async def test_many_writers_of_one_process_take_turns(database):
    ledger = SqlLedger(database)
    loaded = await asyncio.gather(*(ledger.load(f"a/{n}", 1, (make_event(),)) for n in range(40)))
    assert sum(loaded) == 40


async def test_a_slow_statement_is_ended(open_at, postgres_url):
    database = open_at(postgres_url, statement_timeout_s=0.2)
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with database.read() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))
    await database.ping()


async def test_connections_that_the_server_dropped_are_replaced(open_at, postgres_url):
    database, other = open_at(postgres_url), open_at(postgres_url)
    await database.ping()
    async with other.write() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle'"
            )
        )
    await database.ping()


async def test_a_connection_that_breaks_in_a_transaction_is_unavailable(open_at, postgres_url):
    database, other = open_at(postgres_url), open_at(postgres_url)

    async def lose_the_connection():
        async with database.read() as connection:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            async with other.write() as killer:
                await killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await connection.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await lose_the_connection()
    await database.ping()


@pytest.fixture
async def mute_server():
    """Accepts connections and never says a word."""
    connections = []

    async def accept(reader, writer):
        connections.append(writer)
        await reader.read()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in connections:
        writer.close()
    await server.wait_closed()


async def test_a_server_that_does_not_answer_is_unavailable(open_at, mute_server):
    database = open_at(f"postgresql://u:secret@127.0.0.1:{mute_server}/x?sslmode=disable", connect_timeout_s=0.2)
    with pytest.raises(Unavailable):
        await database.ping()


async def test_a_server_that_stalls_is_noticed_before_a_statement_could_take_too_long(open_at):
    with PostgresServer() as server:
        database = open_at(server.url, connect_timeout_s=0.3)  # a statement may take half a minute
        await database.ping()  # so that an open connection is in the pool
        server.stall()
        try:
            for transaction in (database.read, database.write):
                started = time.monotonic()
                with pytest.raises(Unavailable) as raised:
                    await transaction().__aenter__()
                assert time.monotonic() - started < 5  # two of them are the driver's, to say goodbye
                assert raised.value.hint == "database: no connection that answers within 0.3 s"
        finally:
            server.resume()
        await database.ping()


async def test_a_database_that_is_not_there_is_unavailable_to_every_store(open_at, postgres_url, unused_tcp_port):
    for url in (f"postgresql://u:secret@127.0.0.1:{unused_tcp_port}/x", postgres_url.replace("/postgres?", "/none?")):
        database = open_at(url)
        attempts = (
            database.ping,
            database.migrate,
            database.check,
            SqlResourceStore(database).current,
            SqlKeyStore(database).change_number,
            lambda database=database: SqlLedger(database).load("a/1", 1, ()),
            lambda database=database: SqlLeaderLease(database).acquire("a", 1),
        )
        for attempt in attempts:
            with pytest.raises(Unavailable) as raised:
                await attempt()
            assert raised.value.retryable
            assert "secret" not in str(raised.value) + raised.value.hint


async def test_a_file_that_is_no_database_is_named_as_such(open_at, tmp_path):
    path = tmp_path / "podium.db"
    path.write_text("these are notes, not a database\n" * 100)
    database = open_at(f"sqlite:///{path}")
    with pytest.raises(OperatorError, match="not an SQLite database"):
        await database.migrate()
    assert path.read_text().startswith("these are notes")
