import pytest

from podium.core.reasons import Reason
from podium.core.snapshot import KeyEntry, KeySecret
from podium.identity.authenticate import authenticate
from podium.identity.keys import digest_secret

PEPPER = b"p" * 32
OLD, NEW, WRONG = (digest_secret(PEPPER, word) for word in ("old", "new", "wrong"))


def key(*secrets, **fields):
    return KeyEntry(id="abc", tenant="acme", name="ci", secrets=secrets or (KeySecret(digest=NEW),), **fields)


def test_the_right_secret_is_ok():
    assert authenticate(key(), NEW, 0.0) is Reason.OK


def test_an_unknown_id_and_a_wrong_secret_look_the_same():
    assert authenticate(None, WRONG, 0.0) is Reason.INVALID_API_KEY
    assert authenticate(key(), WRONG, 0.0) is Reason.INVALID_API_KEY


def test_a_key_without_secrets_is_never_proven():
    entry = KeyEntry(id="abc", tenant="acme", name="ci", secrets=())
    assert authenticate(entry, bytes(32), 0.0) is Reason.INVALID_API_KEY


@pytest.mark.parametrize(("now", "old"), [(99.9, Reason.OK), (100.0, Reason.INVALID_API_KEY)])
def test_both_secrets_of_a_rotated_key_work_until_the_grace_ends(now, old):
    entry = key(KeySecret(digest=OLD, expires_unix_s=100.0), KeySecret(digest=NEW))
    assert authenticate(entry, NEW, now) is Reason.OK
    assert authenticate(entry, OLD, now) is old


@pytest.mark.parametrize(("now", "reason"), [(99.9, Reason.OK), (100.0, Reason.EXPIRED_API_KEY)])
def test_a_key_ends_at_its_expiry(now, reason):
    assert authenticate(key(expires_unix_s=100.0), NEW, now) is reason


def test_a_revoked_key_is_refused_even_by_a_clock_that_is_late():
    assert authenticate(key(revoked_unix_s=100.0), NEW, 0.0) is Reason.REVOKED_API_KEY


def test_revocation_is_told_before_expiry():
    assert authenticate(key(revoked_unix_s=1.0, expires_unix_s=1.0), NEW, 2.0) is Reason.REVOKED_API_KEY


def test_who_cannot_prove_the_key_does_not_learn_that_it_was_revoked():
    assert authenticate(key(revoked_unix_s=1.0, expires_unix_s=1.0), WRONG, 2.0) is Reason.INVALID_API_KEY
