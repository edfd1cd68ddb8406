"""The table of services: complete, and each row leads somewhere."""

from typing import get_args

import pytest

from podium.core.resources import Aws, Preset, Provider, Tls
from podium.upstreams.account import origin_of
from podium.upstreams.openai import PATHS
from podium.upstreams.presets import SERVICES, adapter_for, base_url_of, paths_for, service_of


def test_every_preset_has_a_row():
    assert set(SERVICES) == set(get_args(Preset))


@pytest.mark.parametrize("preset", sorted(set(get_args(Preset)) - {"azure"}))
def test_every_row_leads_to_a_place(preset):
    spec = Provider(protocol="openai", preset=preset)
    url = base_url_of(spec)
    origin = origin_of(url, Tls())
    assert url.endswith("/v1") and paths_for(spec, "m") == PATHS
    assert (origin.tls is None) == (origin.host == "127.0.0.1"), "only one's own machine is asked without TLS"


def test_a_base_url_goes_before_the_presets():
    assert (
        base_url_of(Provider(protocol="openai", preset="vllm", base_url="http://gpu:8000/v1/")) == "http://gpu:8000/v1"
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"protocol": "anthropic"}, "https://api.anthropic.com/v1"),
        ({"protocol": "anthropic", "base_url": "http://x"}, "http://x/v1"),
        ({"protocol": "anthropic", "base_url": "http://x/"}, "http://x/v1"),
        ({"protocol": "anthropic", "base_url": "http://x/proxy"}, "http://x/proxy"),
        ({"protocol": "gemini"}, "https://generativelanguage.googleapis.com/v1beta"),
        ({"protocol": "gemini", "base_url": "http://x"}, "http://x/v1beta"),
        ({"protocol": "bedrock", "aws": Aws(region="eu-west-1")}, "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        (
            {"protocol": "bedrock", "aws": Aws(region="cn-north-1")},
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn",
        ),
        ({"protocol": "bedrock", "base_url": "http://x:1/"}, "http://x:1"),
        ({"base_url": "https://api.example.com"}, "https://api.example.com"),
    ],
)
def test_a_protocol_has_a_place_of_its_own(fields, url):
    assert base_url_of(Provider(**{"protocol": "openai"} | fields)) == url


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"preset": "openai"}, "max_completion_tokens"),
        ({"base_url": "https://api.openai.com/v1"}, "max_completion_tokens"),
        ({"base_url": "https://eu.api.openai.com/v1"}, "max_completion_tokens"),
        ({"base_url": "https://notopenai.com/v1"}, "max_tokens"),
        ({"base_url": "http://[::1/v1"}, "max_tokens"),
        ({"preset": "azure", "base_url": "http://x"}, "max_completion_tokens"),
        ({"preset": "azure", "base_url": "http://x", "api_version": "2024-10-21"}, "max_completion_tokens"),
        ({"preset": "azure", "base_url": "http://x", "api_version": "2024-08-01-preview"}, "max_tokens"),
        ({"preset": "ollama"}, "max_tokens"),
    ],
)
def test_a_limit_of_our_own_has_the_name_that_is_known_there(fields, limit):
    assert service_of(Provider(**{"protocol": "openai"} | fields)).limit_field == limit


def test_only_a_service_that_differs_costs_anything():
    assert [
        name
        for name in SERVICES
        if adapter_for(Provider(protocol="openai", preset=name, base_url="http://x/v1")) is None
    ] == [
        "openai",
        "azure",
    ]
    assert adapter_for(Provider(protocol="openai", base_url="http://x/v1")) is None
