from hypothesis import given
from hypothesis import strategies as st

from podium.identity.keys import derive_secret, digest_secret, new_api_key, parse_api_key


def test_a_new_key_is_read_back_from_its_text():
    key = new_api_key()
    assert parse_api_key(key.text) == key


def test_two_new_keys_differ_in_id_and_secret():
    one, two = new_api_key(), new_api_key()
    assert one.id != two.id
    assert one.secret != two.secret


def test_the_secret_is_not_in_the_repr():
    key = new_api_key()
    assert key.secret not in repr(key)
    assert key.id in repr(key)


@given(st.text(max_size=80))
def test_any_text_is_a_key_or_none(text):
    key = parse_api_key(text)
    assert key is None or key.text == text


def test_trailing_characters_make_it_no_key():
    assert parse_api_key(new_api_key().text + "\n") is None
    assert parse_api_key(new_api_key().text + "x") is None


def test_digests_depend_on_secret_and_pepper():
    assert digest_secret(b"p", "s") == digest_secret(b"p", "s")
    assert len({digest_secret(b"p", "s"), digest_secret(b"q", "s"), digest_secret(b"p", "t")}) == 3


def test_secrets_for_two_purposes_differ():
    assert derive_secret(b"root", "api-keys") != derive_secret(b"root", "snapshot")
    assert len(derive_secret(b"root", "worker")) == 32
