import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.web.addresses import caller_address, networks
from podium.web.settings import GatewayServerSettings

PROXIES = networks("10.0.0.0/8, ::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),  # says an untrusted peer
        ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"1.2.3.4, 198.51.100.1", "198.51.100.1"),  # the caller wrote the first one himself
        ("10.0.0.1", b"198.51.100.1, 10.0.0.2 ,10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("::1", b"2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", b"unknown", "10.0.0.1"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("", b"198.51.100.1", ""),
    ],
)
def test_the_last_hop_that_no_trusted_proxy_stands_for_is_the_caller(peer, forwarded, address):
    assert caller_address(peer, forwarded, PROXIES) == address


def test_without_trusted_proxies_nothing_is_believed():
    assert caller_address("10.0.0.1", b"198.51.100.1", networks("")) == "10.0.0.1"


@given(forwarded=st.binary(max_size=200), peer=st.sampled_from(["10.0.0.1", "192.0.2.1", "::1", "strange"]))
def test_whatever_is_sent_the_address_is_one_or_the_peer(forwarded, peer):
    found = caller_address(peer, forwarded, PROXIES)
    assert found == peer or networks(found)


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example", "10.0.0.1;10.0.0.2"])
def test_a_wrong_network_is_refused_where_settings_are_read(wrong):
    with pytest.raises(ValueError, match="`trusted_proxies`: "):
        GatewayServerSettings(trusted_proxies=f"192.0.2.1, {wrong}")
