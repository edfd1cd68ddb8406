import msgspec
import pytest

from podium.core.budgets import Budget
from podium.core.limits import Limit, LimitPolicy
from podium.core.resources import BackendSpec, Model, Price, Provider, SecretRef, Tenant, Version
from podium.core.rollouts import ArmShare, Progress, Rollout, Segment
from podium.core.snapshot import KeyEntry, KeySecret, Snapshot, decode_snapshot, encode_snapshot

SNAPSHOT = Snapshot(
    revision=7,
    published_unix_s=1_700_000_000.5,
    keys=(
        KeyEntry(id="abcdefghijkm", tenant="acme", name="ci", secrets=(KeySecret(digest=b"\x00\xff" * 16),)),
        KeyEntry(id="mkjihgfedcba", tenant="acme", name="", secrets=(), revoked_unix_s=1.0, tier="gold", tags="team=a"),
    ),
    tenants={"acme": Tenant(display_name="Acme")},
    providers={"o": Provider(protocol="openai", base_url="https://a/v1", api_key=SecretRef(env="KEY"))},
    versions={"v": Version(backends=(BackendSpec(provider="o", model="m"),), parameters={"temperature": 0.5})},
    models={"m": Model(version="v", aliases=("default",))},
    limit_policies={"l": LimitPolicy(limits=(Limit(what="concurrency", amount=3),))},
    budgets={"b": Budget(unit="usd", amount="12.50", period="month", where={"tag:team": ("a*",)})},
    prices={"p": Price(model="m", input_usd_per_million="1", output_usd_per_million="2")},
    rollouts={"r": Rollout(model="m", candidate="w", where=Segment(tenants=("acme*",)))},
    progress={
        "r": Progress(
            phase="running", before="v", salt="s", arms=(ArmShare(name="candidate", version="w", first=0, count=500),)
        )
    },
)


def test_what_is_published_is_read_back():
    assert decode_snapshot(encode_snapshot(SNAPSHOT)) == SNAPSHOT


def test_a_snapshot_of_a_later_version_is_read_as_far_as_we_know_it():
    later = msgspec.msgpack.decode(encode_snapshot(SNAPSHOT)) | {"of_tomorrow": {"r": {}}}

    assert decode_snapshot(msgspec.msgpack.encode(later)) == SNAPSHOT


@pytest.mark.parametrize("length", [0, 1, 50])
def test_a_cut_snapshot_is_refused(length):
    with pytest.raises(msgspec.DecodeError):
        decode_snapshot(encode_snapshot(SNAPSHOT)[:length])


def test_no_secret_of_a_provider_is_in_a_snapshot(monkeypatch):
    monkeypatch.setenv("KEY", "s3cret")

    assert b"s3cret" not in encode_snapshot(SNAPSHOT)


def test_whether_only_keys_differ_is_told():
    replace = msgspec.structs.replace
    assert replace(SNAPSHOT, revision=8, published_unix_s=9.0, keys=()).only_keys_differ(SNAPSHOT)
    assert decode_snapshot(encode_snapshot(SNAPSHOT)).only_keys_differ(SNAPSHOT)
    for name in set(SNAPSHOT.__struct_fields__) - {"revision", "published_unix_s", "keys", "flags"}:
        assert not replace(SNAPSHOT, **{name: {}}).only_keys_differ(SNAPSHOT)
