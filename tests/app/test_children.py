"""What `podium up` starts: one gateway as it always was, or several on one port."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from podium.app.children import children, gateway_children
from podium.config import load_settings


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The settings of each gateway process, by its name, as that process will read them; and all children."""
    for name in [name for name in os.environ if name.startswith("PODIUM_")]:
        monkeypatch.delenv(name)

    def start(**variables):
        settings = load_settings(data_dir=tmp_path, environment={"PODIUM_CONFIG": os.devnull} | variables)
        gateways = gateway_children(settings)
        specs = {spec.name: spec for spec in children(settings, gateways)}
        read = {one.name: load_settings(environment=specs[one.name].environment) for one in gateways}
        return read, specs

    return start


def test_one_gateway_has_its_port_for_itself(started):
    (read, specs) = started(PODIUM_PORT="9000")
    (gateway,) = read.values()
    assert list(read) == ["gateway"]
    assert (gateway.server.port, gateway.server.share_port, gateway.server.probe_port) == (9000, False, 0)
    assert specs["gateway"].ready_url == "http://127.0.0.1:9000/readyz"


def test_several_share_the_port_and_differ_in_name_journal_probes_and_log(started):
    read, specs = started(PODIUM_GATEWAYS="3", PODIUM_PORT="9000", PODIUM_GATEWAY_NAME="edge")
    assert list(read) == ["edge-1", "edge-2", "edge-3"]
    for name, settings in read.items():
        assert settings.gateway.name == name
        assert (settings.server.port, settings.server.share_port) == (9000, True)
        assert specs[name].ready_url == f"http://127.0.0.1:{settings.server.probe_port}/readyz"
        assert specs[name].log_file.name == f"{name}.log"
    assert len({settings.server.probe_port for settings in read.values()}) == 3
    assert len({spec.ready_url for spec in specs.values()}) == len(specs)


def test_probe_ports_that_are_set_count_up(started):
    read, _ = started(PODIUM_GATEWAYS="2", PODIUM_GATEWAY_PROBE_PORT="9100")
    assert [settings.server.probe_port for settings in read.values()] == [9100, 9101]


def test_limits_are_shared_out_among_all_before_the_shared_store_was_ever_seen(started):
    read, _ = started(PODIUM_GATEWAYS="2")
    assert {settings.redis.expected_gateways for settings in read.values()} == {2}
    read, _ = started(PODIUM_GATEWAYS="2", PODIUM_REDIS_EXPECTED_GATEWAYS="8")
    assert {settings.redis.expected_gateways for settings in read.values()} == {8}


def test_gateways_stop_first_and_control_last(started):
    _, specs = started(PODIUM_GATEWAYS="2")
    ranks = {name: spec.rank for name, spec in specs.items()}
    assert ranks.pop("gateway-1") == ranks.pop("gateway-2") > max(ranks.values())
    assert ranks.pop("control") < min(ranks.values())


def test_the_root_secret_reaches_children_in_the_environment_and_no_repr(started):
    _, specs = started(PODIUM_IDENTITY_ROOT_SECRET="a" * 64)
    assert specs["control"].environment["PODIUM_IDENTITY_ROOT_SECRET"] == "a" * 64
    assert "a" * 64 not in repr(specs)


def test_data_folders_are_the_same_for_all(started, tmp_path):
    read, _ = started(PODIUM_GATEWAYS="2")
    assert {settings.data.path for settings in read.values()} == {Path(tmp_path)}


def test_a_gateway_loads_no_store_that_it_does_not_use():
    heavy = ("sqlalchemy", "asyncpg", "alembic", "redis", "litestar", "granian")
    program = f"import sys, podium.app.gateway; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
