from podium.control.documents import parse_documents
from podium.control.rollouts.own_key import own_entries, own_key
from podium.core.reasons import Reason
from podium.core.resources import Progress, Resource
from podium.identity.authenticate import authenticate
from podium.identity.keys import digest_secret, parse_api_key

TENANTS = parse_documents("{kind: Tenant, name: acme}\n---\n{kind: Tenant, name: default}")


def progress(phase, **more):
    return Resource("Progress", "r", Progress(phase=phase, before="v1", salt="s", **more))


def test_gateways_know_it_while_a_rollout_is_under_way():
    (entry,) = own_entries(b"pepper", [*TENANTS, progress("preparing")])
    key = parse_api_key(own_key(b"pepper").text)
    assert key is not None
    assert authenticate(entry, digest_secret(b"pepper", key.secret), 0.0) is Reason.OK
    assert (entry.id, entry.tenant, entry.admin) == (key.id, "default", True)


def test_it_is_known_to_nobody_otherwise():
    assert own_entries(b"pepper", TENANTS) == ()
    assert own_entries(b"pepper", [*TENANTS, progress("promoted"), progress("returned")]) == ()
    assert own_entries(b"pepper", [progress("running")]) == ()  # nobody could pay


def test_every_house_has_its_own_and_every_process_of_it_the_same():
    assert own_key(b"pepper") == own_key(b"pepper")
    one, other = own_key(b"pepper"), own_key(b"another pepper")
    assert one.id != other.id
    assert one.secret != other.secret
    assert one.secret not in repr(one)
