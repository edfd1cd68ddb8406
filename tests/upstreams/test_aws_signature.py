"""Signatures of AWS, beside botocore's own and Amazon's published ones; where the keys come from."""

import asyncio
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from podium.core.errors import OperatorError, UpstreamFailed, UpstreamTimeout
from podium.upstreams.aws_signature import ApiKey, AwsKeys, AwsSigner, ChainCredentials, StaticCredentials, region_of
from podium.wire.bedrock.requests import path_of

HOST = "bedrock-runtime.eu-west-1.amazonaws.com"
WHEN = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
# Of Amazon's published test suite for Signature Version 4.
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def _lines(headers):
    assert headers.endswith(b"\r\n")
    return dict(line.decode().split(": ", 1) for line in headers.split(b"\r\n")[:-1])


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),  # get-vanilla
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),  # post-vanilla
    ],
)
def test_amazons_published_signatures_come_out(method, signature):
    signer = AwsSigner("example.amazonaws.com", "us-east-1", StaticCredentials(*KEYS), service="service")
    assert _lines(signer.headers(method, b"/", b"", WHEN.timestamp())) == {
        "x-amz-date": "20150830T123600Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}",
    }


@pytest.mark.parametrize("token", [None, "session/token+=="])
@pytest.mark.parametrize(
    "model", ["amazon.nova-lite-v1:0", "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2"]
)
def test_a_signature_is_the_one_of_botocore(model, token, monkeypatch):
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: WHEN)
    path, body = path_of(model, stream=True), b'{"messages":[]}'
    request = AWSRequest(method="POST", url=f"https://{HOST}{path.decode()}", data=body)
    SigV4Auth(Credentials(*KEYS, token), "bedrock", "eu-west-1").add_auth(request)
    signer = AwsSigner(HOST, "eu-west-1", StaticCredentials(*KEYS, token))
    expected = {name.lower(): value for name, value in request.headers.items()}
    assert _lines(signer.headers("POST", path, body, WHEN.timestamp())) == expected


def test_the_signed_path_is_encoded_twice():
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    path = path_of("amazon.nova-lite-v1:0", stream=False)
    request = AWSRequest(method="POST", url=f"https://{HOST}{path.decode()}", data=b"")
    canonical = SigV4Auth(AwsKeys(*KEYS), "bedrock", "eu-west-1").canonical_request(request)
    assert canonical.splitlines()[1] == "/model/amazon.nova-lite-v1%253A0/converse"


async def test_amazons_own_client_makes_the_same_request_and_signature(monkeypatch):
    """The whole client, stopped just before it would send; without the headers that only it has."""
    from botocore.awsrequest import AWSResponse
    from botocore.session import Session

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: WHEN)
    monkeypatch.setattr("botocore.auth.SIGNED_HEADERS_BLACKLIST", ["content-type", "content-length"])
    client = Session().create_client(
        "bedrock-runtime", region_name="eu-west-1", aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1]
    )
    sent = []

    def stop(request, **_):
        sent.append(request)
        return AWSResponse(request.url, 200, {}, _Raw())

    client.meta.events.register("before-send.bedrock-runtime.Converse", stop)
    client.meta.events.register("before-sign.bedrock-runtime.Converse", lambda request, **_: _strip(request))
    client.converse(modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "é"}]}])
    [request] = sent
    path = path_of("amazon.nova-lite-v1:0", stream=False)
    assert request.url == f"https://{HOST}{path.decode()}"
    signer = AwsSigner(HOST, "eu-west-1", StaticCredentials(*KEYS))
    ours = _lines(signer.headers("POST", path, request.body, WHEN.timestamp()))
    assert ours["authorization"].encode() == request.headers["Authorization"]


class _Raw:
    def stream(self, amt=1024):
        return iter([b'{"output":{"message":{"role":"assistant","content":[]}}}'])

    def read(self, amt=None):
        return b""


def _strip(request):
    for name in list(request.headers):
        if name.lower() not in ("content-type", "content-length"):
            del request.headers[name]


def test_another_body_or_time_or_path_is_another_signature():
    signer = AwsSigner(HOST, "eu-west-1", StaticCredentials(*KEYS))
    calls = [
        ("POST", b"/a", b"x", 1e9),
        ("POST", b"/a", b"y", 1e9),
        ("POST", b"/b", b"x", 1e9),
        ("POST", b"/a", b"x", 2e9),
    ]
    assert len({signer.headers(*call) for call in calls}) == 4


def test_secrets_are_not_shown():
    shown = repr(AwsKeys("AKID", "very secret", "token-secret"))
    assert "secret" not in shown.replace("secret_key", "")
    assert "AKID" in shown


@pytest.mark.parametrize(
    "keys", [("", "s"), ("a", ""), ("a\r\nb", "s"), ("a", "s", "t\nx"), ("é", "s"), ("a", "s", "t t")]
)
def test_keys_that_no_header_may_hold_are_refused(keys):
    with pytest.raises(OperatorError):
        StaticCredentials(*keys)


async def test_an_api_key_needs_no_signature():
    signer = ApiKey("bedrock-api-key-abc=")
    await signer.ready()
    assert signer.headers("POST", b"/", b"", 0.0) == b"authorization: Bearer bedrock-api-key-abc=\r\n"
    for wrong in ("", "a\r\nb", "a b", "é"):
        with pytest.raises(OperatorError):
            ApiKey(wrong)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.eu-west-1.amazonaws.com", "eu-west-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com:443", "us-gov-west-1"),
        ("vpce-1a-2b.bedrock-runtime.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("Bedrock-Runtime.us-east-1.api.aws", "us-east-1"),
        ("localhost:9000", None),
        ("notbedrock-runtime.eu-west-1.amazonaws.com", None),
    ],
)
def test_the_region_is_in_the_hosts_name(host, region):
    assert region_of(host) == region


def test_without_botocore_the_operator_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "botocore.auth", None)
    with pytest.raises(OperatorError) as caught:
        AwsSigner(HOST, "eu-west-1", StaticCredentials(*KEYS))
    assert "podium[bedrock]" in caught.value.hint


# The chain


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    """An environment where nothing knows any keys."""
    for name in list(__import__("os").environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


async def test_keys_come_from_the_environment(no_aws, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    signer = AwsSigner(HOST, "eu-west-1", ChainCredentials())
    await signer.ready()
    lines = _lines(signer.headers("POST", b"/", b"", 0.0))
    assert "AKIDENV/" in lines["authorization"]
    assert lines["x-amz-security-token"] == "t"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token" in lines["authorization"]


async def test_keys_come_from_a_profile(no_aws):
    (no_aws / "credentials").write_text("[alice]\naws_access_key_id = AKIDALICE\naws_secret_access_key = s\n")
    credentials = ChainCredentials(profile="alice")
    await credentials.ready()
    assert credentials.keys == AwsKeys("AKIDALICE", "s")


@pytest.mark.parametrize("profile", [None, "nobody"])
async def test_where_there_are_no_keys_the_call_fails_and_the_next_one_at_once(no_aws, profile):
    credentials = ChainCredentials(profile=profile)
    signer = AwsSigner(HOST, "eu-west-1", credentials)
    await signer.ready()
    with pytest.raises(UpstreamFailed) as caught:
        signer.headers("POST", b"/", b"", 0.0)
    assert caught.value.hint in ("No credentials for AWS were found.", "ProfileNotFound")
    await signer.ready()
    assert credentials._fetching is None


@contextmanager
def _container(lifetimes, gate=None):
    """A container's service for keys on loopback; the n-th keys are good for the n-th lifetime."""
    count = iter(range(len(lifetimes)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if gate is not None:
                gate.wait(20)
            n = next(count)
            expires = datetime.now(UTC) + lifetimes[n]
            keys = {"AccessKeyId": f"AKID{n}", "SecretAccessKey": "s", "Token": "t", "Expiration": expires.isoformat()}
            body = json.dumps(keys).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_keys_are_renewed_while_calls_go_on_with_the_old_ones(no_aws, monkeypatch):
    soon, later = timedelta(minutes=13), timedelta(hours=6)
    with _container([soon, soon, later]) as url:  # botocore itself renews the first ones at once
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        credentials = ChainCredentials(pause_s=0.0)
        await credentials.ready()
        assert credentials.keys.access_key == "AKID1"
        await credentials.ready()  # begins to renew them, and does not wait
        assert credentials.keys.access_key == "AKID1"
        assert credentials._fetching is not None
        await asyncio.wait((credentials._fetching,))
        assert credentials.keys.access_key == "AKID2"
        await credentials.ready()
        assert credentials._fetching is None


async def test_many_calls_wait_for_one_fetch(no_aws, monkeypatch):
    with _container([timedelta(hours=6)]) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        credentials = ChainCredentials()
        await asyncio.gather(*(credentials.ready() for _ in range(20)))
        assert credentials.keys.access_key == "AKID0"


async def test_keys_that_do_not_come_in_time_are_not_waited_for(no_aws, monkeypatch):
    gate = threading.Event()
    with _container([timedelta(hours=6)], gate) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        credentials = ChainCredentials(wait_s=0.01)
        with pytest.raises(UpstreamTimeout):
            await credentials.ready()
        with pytest.raises(UpstreamFailed):
            _ = credentials.keys
        gate.set()
        await asyncio.wait((credentials._fetching,))
        assert credentials.keys.access_key == "AKID0"


async def test_keys_that_have_expired_are_not_used(no_aws, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    credentials = ChainCredentials()
    await credentials.ready()

    class Expired:
        def refresh_needed(self, within_s=None):
            return True

    credentials._source = Expired()
    with pytest.raises(UpstreamFailed):
        _ = credentials.keys
