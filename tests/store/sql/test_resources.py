import pytest
from sqlalchemy import text

from podium.control.ports import Change
from podium.core.errors import OperatorError
from podium.store.sql.resources import SqlResourceStore


@pytest.mark.parametrize(
    ("kind", "spec"), [("Tenant", '{"colour": "red"}'), ("Tenant", "no JSON"), ("Spaceship", "{}")]
)
async def test_a_stored_spec_that_cannot_be_read_names_itself(database, kind, spec):
    store = SqlResourceStore(database)
    await store.commit(expected=0, author="a", message="", changes=(Change("Tenant", "acme", None, {}),))
    async with database.write() as connection:
        await connection.execute(text("UPDATE resources SET kind = :kind, spec = :spec"), {"kind": kind, "spec": spec})
    with pytest.raises(OperatorError, match=f"{kind} `acme`") as raised:
        await store.current()
    assert "version of Podium" in raised.value.hint
