import asyncio

import msgspec
import pytest

from podium.control.documents import parse_documents
from podium.control.keys import Keys, Labels, NewKey, is_live
from podium.core.errors import Conflict, InvalidRequest, NotFound
from podium.core.reasons import Reason
from podium.identity.authenticate import authenticate
from podium.identity.keys import digest_secret, new_api_key, parse_api_key


@pytest.fixture(autouse=True)
async def _acme(resources):
    await resources.apply(parse_documents("{kind: Tenant, name: acme}"), author="test")


def create(keys, **more):
    return keys.create(NewKey(tenant="acme", name="app", **more), created_by="alice")


def verdict(record, text, clock):
    digest = digest_secret(b"pepper", parse_api_key(text).secret)
    return authenticate(record.entry, digest, clock.unix_ns() / 1e9)


async def test_a_created_key_works_and_is_stored_without_its_secret(keys, key_store, clock):
    issued = await create(keys, models=("gpt-*",), admin=True)
    record = await key_store.find(issued.record.entry.id)
    assert verdict(record, issued.text, clock) is Reason.OK
    assert (record.created_by, record.entry.admin, record.entry.models) == ("alice", True, ("gpt-*",))
    secret = parse_api_key(issued.text).secret
    assert secret.encode() not in msgspec.msgpack.encode(record)
    assert secret not in repr(issued)


@pytest.mark.parametrize(
    ("new", "parameter"),
    [
        ({"tenant": "nobody"}, "tenant"),
        ({"name": "  "}, "name"),
        ({"endpoints": ("chat",)}, "endpoints"),
        ({"tags": {"te am": "a"}}, "tags"),
        ({"tags": {"team": "a,b"}}, "tags"),
        ({"tags": {f"n{number}": "a" for number in range(9)}}, "tags"),
        ({"expires_unix_s": 5.0}, "expires_unix_s"),
        ({"expires_unix_s": 1e300}, "expires_unix_s"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(keys, new, parameter):
    with pytest.raises(InvalidRequest) as caught:
        await keys.create(NewKey(**{"tenant": "acme", "name": "app", **new}), created_by="alice")
    assert caught.value.parameter == parameter


async def test_a_key_keeps_its_tier_and_its_tags_in_one_form(keys, key_store):
    issued = await create(keys, tier="gold", tags={"team": "a", "project": "shop"})
    record = await key_store.find(issued.record.entry.id)
    assert (record.entry.tier, record.entry.tags) == ("gold", "project=shop,team=a")
    rotated = await keys.rotate(record.entry.id, grace_s=60, author="bob")
    assert (rotated.record.entry.tier, rotated.record.entry.tags) == ("gold", "project=shop,team=a")


async def test_tier_and_tags_are_changed_while_the_key_works(keys, key_store, clock):
    issued = await create(keys, tier="gold", tags={"team": "a"})
    key_id = issued.record.entry.id
    await keys.label(key_id, Labels(tier="trial"), author="bob")
    await keys.label(key_id, Labels(tags={"team": "b"}), author="bob")
    record = await key_store.find(key_id)
    assert (record.entry.tier, record.entry.tags) == ("trial", "team=b")
    assert verdict(record, issued.text, clock) is Reason.OK
    number = await key_store.change_number()
    assert await keys.label(key_id, Labels(tier="trial", tags={"team": "b"}), author="bob") == record
    assert await key_store.change_number() == number  # it says so already
    await keys.label(key_id, Labels(tier="", tags={}), author="bob")
    assert (await keys.get(key_id)).entry == msgspec.structs.replace(record.entry, tier="", tags="")


async def test_what_cannot_be_labelled_is_refused(keys):
    issued = await create(keys)
    key_id = issued.record.entry.id
    with pytest.raises(InvalidRequest, match="name of a tag"):
        await keys.label(key_id, Labels(tags={"te am": "a"}), author="bob")
    await keys.revoke(key_id, author="bob")
    with pytest.raises(Conflict, match="is revoked or expired"):
        await keys.label(key_id, Labels(tier="gold"), author="bob")
    with pytest.raises(NotFound):
        await keys.label("nobody", Labels(tier="gold"), author="bob")


async def test_keys_are_listed_oldest_first_and_by_tenant(keys, resources, clock):
    await resources.apply(parse_documents("{kind: Tenant, name: other}"), author="test")
    first = await create(keys)
    clock.advance(1)
    second = await keys.create(NewKey(tenant="other", name="b"), created_by="alice")
    assert [record.entry.id for record in await keys.all()] == [first.record.entry.id, second.record.entry.id]
    assert [record.entry.id for record in await keys.all(tenant="other")] == [second.record.entry.id]


async def test_a_rotated_key_has_two_secrets_until_the_grace_ends(keys, clock):
    old = await create(keys)
    new = await keys.rotate(old.record.entry.id, grace_s=60, author="bob")
    assert new.record.entry.id == old.record.entry.id
    assert verdict(new.record, old.text, clock) is verdict(new.record, new.text, clock) is Reason.OK
    clock.advance(61)
    assert verdict(new.record, old.text, clock) is Reason.INVALID_API_KEY
    assert verdict(new.record, new.text, clock) is Reason.OK


async def test_a_rotation_without_grace_ends_the_old_secret_at_once(keys, clock):
    old = await create(keys)
    new = await keys.rotate(old.record.entry.id, grace_s=0, author="bob")
    assert verdict(new.record, old.text, clock) is Reason.INVALID_API_KEY
    assert len(new.record.entry.secrets) == 1


async def test_there_are_never_three_live_secrets(keys, clock):
    key_id = (await create(keys)).record.entry.id
    await keys.rotate(key_id, grace_s=60, author="bob")
    with pytest.raises(Conflict, match="old secret still works"):
        await keys.rotate(key_id, grace_s=60, author="bob")
    clock.advance(61)
    assert len((await keys.rotate(key_id, grace_s=60, author="bob")).record.entry.secrets) == 2
    assert len((await keys.rotate(key_id, grace_s=0, author="bob")).record.entry.secrets) == 1


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), float("inf"), 1e9])
async def test_a_grace_has_bounds(keys, grace_s):
    key_id = (await create(keys)).record.entry.id
    with pytest.raises(InvalidRequest):
        await keys.rotate(key_id, grace_s=grace_s, author="bob")


async def test_a_revoked_key_stays_revoked_and_is_not_rotated(keys, clock):
    issued = await create(keys)
    key_id = issued.record.entry.id
    first = await keys.revoke(key_id, author="bob")
    clock.advance(5)
    assert await keys.revoke(key_id, author="carol") == first
    assert verdict(first, issued.text, clock) is Reason.REVOKED_API_KEY
    with pytest.raises(Conflict, match="revoked or expired"):
        await keys.rotate(key_id, grace_s=0, author="bob")


async def test_a_revocation_wins_against_a_rotation_at_the_same_moment(keys, clock):
    key_id = (await create(keys)).record.entry.id
    await asyncio.gather(
        keys.rotate(key_id, grace_s=60, author="bob"), keys.revoke(key_id, author="bob"), return_exceptions=True
    )
    assert not is_live((await keys.get(key_id)).entry, clock.unix_ns() / 1e9)


async def test_unknown_keys_are_not_found(keys):
    for call in (keys.get("x"), keys.revoke("x", author="a"), keys.rotate("x", grace_s=0, author="a")):
        with pytest.raises(NotFound):
            await call


async def test_the_same_key_is_not_created_twice(keys):
    key = new_api_key()
    await keys.create(NewKey(tenant="acme", name="a"), created_by="x", key=key)
    with pytest.raises(Conflict):
        await keys.create(NewKey(tenant="acme", name="a"), created_by="x", key=key)


async def test_each_change_is_told_with_the_keys_id(resource_store, key_store, clock):
    told = []
    keys = Keys(key_store, resource_store, b"pepper", clock, changed=told.append)
    key_id = (await create(keys)).record.entry.id
    await keys.rotate(key_id, grace_s=5, author="a")
    await keys.revoke(key_id, author="a")
    assert told == [key_id] * 3
