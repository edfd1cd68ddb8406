import pytest

from podium.control.documents import parse_documents
from podium.control.keys import NewKey
from podium.control.operators import Operators
from podium.core.errors import Forbidden, Unauthenticated, Unavailable
from podium.core.reasons import Reason
from podium.identity.keys import new_api_key


@pytest.fixture
async def issued(resources, keys):
    await resources.apply(parse_documents("{kind: Tenant, name: acme}"), author="test")
    return await keys.create(NewKey(tenant="acme", name="ops", admin=True), created_by="test")


@pytest.fixture
def operators(key_store, clock):
    return Operators(key_store, b"pepper", clock)


async def refused(operators, text):
    with pytest.raises(Unauthenticated) as caught:
        await operators.identify(text)
    return caught.value.reason


async def test_an_admin_key_is_let_in(operators, issued):
    assert (await operators.identify(issued.text)).id == issued.record.entry.id


async def test_others_are_told_why_not(operators, issued, keys):
    assert await refused(operators, None) is Reason.MISSING_API_KEY
    assert await refused(operators, "nonsense") is Reason.INVALID_API_KEY
    assert await refused(operators, new_api_key().text) is Reason.INVALID_API_KEY
    forged = issued.text[:-1] + ("a" if issued.text[-1] != "a" else "b")
    assert await refused(operators, forged) is Reason.INVALID_API_KEY
    plain = await keys.create(NewKey(tenant="acme", name="app"), created_by="test")
    with pytest.raises(Forbidden):
        await operators.identify(plain.text)


async def test_a_revocation_here_bites_at_once_and_elsewhere_within_a_second(operators, issued, keys, clock):
    await operators.identify(issued.text)
    await keys.revoke(issued.record.entry.id, author="test")
    assert await operators.identify(issued.text)  # by another process: the cache does not know yet
    clock.advance(1.0)
    assert await refused(operators, issued.text) is Reason.REVOKED_API_KEY


async def test_a_key_that_is_forgotten_is_read_again(operators, issued, keys):
    await operators.identify(issued.text)
    await keys.revoke(issued.record.entry.id, author="test")
    operators.forget(issued.record.entry.id)
    assert await refused(operators, issued.text) is Reason.REVOKED_API_KEY


async def test_an_expired_key_is_refused_though_it_is_cached(operators, keys, issued, clock):
    soon = clock.unix_ns() / 1e9 + 0.5
    key = await keys.create(NewKey(tenant="acme", name="x", admin=True, expires_unix_s=soon), created_by="test")
    await operators.identify(key.text)
    clock.advance(0.6)
    assert await refused(operators, key.text) is Reason.EXPIRED_API_KEY


async def test_what_was_read_before_a_change_is_not_cached_after_it(operators, issued, key_store, keys, clock):
    find = key_store.find

    async def slow(key_id):
        record = await find(key_id)
        await keys.revoke(key_id, author="test")
        operators.forget(key_id)
        return record

    key_store.find = slow
    monkey = operators.identify(issued.text)
    keys._store = type("S", (), {"find": staticmethod(find), "replace": key_store.replace})()
    await monkey
    key_store.find = find
    assert await refused(operators, issued.text) is Reason.REVOKED_API_KEY


async def test_while_the_database_is_down_nobody_new_is_let_in(operators, issued, key_store, clock):
    await operators.identify(issued.text)
    key_store.down = True
    assert await operators.identify(issued.text)
    clock.advance(1.0)
    with pytest.raises(Unavailable):
        await operators.identify(issued.text)


async def test_the_cache_is_bounded(operators, keys, issued):
    for _ in range(300):
        key = await keys.create(NewKey(tenant="acme", name="x", admin=True), created_by="test")
        await operators.identify(key.text)
    assert len(operators._cache) <= 256
