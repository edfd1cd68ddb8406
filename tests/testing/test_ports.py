import socket
from itertools import islice

from podium.testing.ports import _ports, free_port


def test_a_free_port_can_be_listened_on():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))


def test_a_port_that_is_taken_is_passed_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = free_port()
        monkeypatch.setattr("podium.testing.ports._walk", iter([taken.getsockname()[1], other]))
        assert free_port() == other


def test_workers_share_the_ports_and_give_none_out_twice():
    parts = [set(islice(_ports(f"gw{number}", 2), 8500)) for number in range(2)]
    assert [len(part) for part in parts] == [8500, 8500]
    assert not parts[0] & parts[1]
    assert all(15_000 <= port < 32_000 for port in parts[0] | parts[1])
