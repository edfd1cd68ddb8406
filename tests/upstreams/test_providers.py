"""Providers as they are declared: accounts, secrets, headers, trust."""

import asyncio
import ssl
import sys

import pytest
import structlog
import trustme

from podium.core.errors import OperatorError, UpstreamFailed
from podium.core.resources import Aws, Provider, SecretRef, Timeouts, Tls
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually
from podium.upstreams.account import account_head, origin_of
from podium.upstreams.providers import LocalWorkers, Providers
from podium.upstreams.secrets import Secrets

BODY = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
QUICK = Timeouts(connect_s=2, first_byte_s=2, between_bytes_s=2, total_s=5)


def provider(base_url, **fields):
    return Provider(**{"protocol": "openai", "base_url": base_url, "timeouts": QUICK} | fields)


@pytest.fixture
async def providers():
    made = Providers(LocalWorkers({}, ""))
    yield made
    made.close()
    await eventually(lambda: made.open_connections == 0)


async def call(one, endpoint="chat.completions"):
    return await one.call(endpoint, BODY, headers=b"x-extra: 1\r\n", deadline_s=asyncio.get_running_loop().time() + 5)


# Requests.


@pytest.mark.parametrize("tail", ["", "/"])
async def test_a_request_goes_out_complete(providers, upstream, tail):
    spec = provider(upstream.url + tail, headers={"X-Org": "o"})
    answer = await call(providers.upstream("p", spec, "m"))
    assert answer.status == 200
    (request,) = upstream.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/chat/completions", BODY)
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    assert headers["host"] == f"127.0.0.1:{upstream.port}"
    assert headers["content-length"] == str(len(BODY))
    assert (headers["x-org"], headers["x-extra"]) == ("o", "1")
    assert "authorization" not in headers


@pytest.mark.parametrize(("endpoint", "path"), [("completions", "/v1/completions"), ("embeddings", "/v1/embeddings")])
async def test_each_endpoint_has_its_path(providers, upstream, endpoint, path):
    await call(providers.upstream("p", provider(upstream.url), "m"), endpoint)
    assert upstream.requests[0].path == path


# Secrets.


async def test_a_secret_comes_from_the_environment(providers, upstream, monkeypatch):
    monkeypatch.setenv("PROVIDER_KEY", "sk-env")
    await call(providers.upstream("p", provider(upstream.url, api_key=SecretRef(env="PROVIDER_KEY")), "m"))
    assert upstream.requests[0].header("authorization") == "Bearer sk-env"


async def test_a_secret_comes_from_a_file_without_its_line_end(providers, upstream, tmp_path):
    (tmp_path / "key").write_text("sk-file\n")
    spec = provider(upstream.url, api_key=SecretRef(file=str(tmp_path / "key")))
    await call(providers.upstream("p", spec, "m"))
    assert upstream.requests[0].header("authorization") == "Bearer sk-file"
    (tmp_path / "key").write_text("sk-new\n")
    await call(providers.upstream("p", spec, "m"))
    assert upstream.requests[1].header("authorization") == "Bearer sk-new"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"sk\r\nx-evil: 1", b"\xff\xfe", "sk-日本".encode()])
async def test_a_secret_that_cannot_be_used_makes_the_provider_unusable(providers, tmp_path, content):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        assert providers.upstream("p", provider("http://x/v1", api_key=SecretRef(file=str(path))), "m") is None
    assert [entry["event"] for entry in logs] == ["provider_unusable"]
    assert "sk" not in str(logs[0]["error"]).replace(str(tmp_path), "")


async def test_a_missing_environment_variable_makes_the_provider_unusable(providers, monkeypatch):
    monkeypatch.delenv("PROVIDER_KEY", raising=False)
    with structlog.testing.capture_logs() as logs:
        assert providers.upstream("p", provider("http://x/v1", api_key=SecretRef(env="PROVIDER_KEY")), "m") is None
    assert "PROVIDER_KEY" in logs[0]["error"]


async def test_why_a_provider_cannot_be_called_is_known_until_it_can_be(providers, monkeypatch):
    monkeypatch.delenv("PROVIDER_KEY", raising=False)
    spec = provider("http://x/v1", api_key=SecretRef(env="PROVIDER_KEY"))
    assert providers.upstream("p", spec, "m") is None
    providers.retire_unused()
    assert list(providers.unusable) == ["p"]
    assert "PROVIDER_KEY" in providers.unusable["p"]
    monkeypatch.setenv("PROVIDER_KEY", "sk-1")
    assert providers.upstream("p", spec, "m") is not None
    providers.retire_unused()
    assert not providers.unusable


async def test_each_secret_of_aws_must_be_there(providers, monkeypatch):
    names = ("AWS_ID", "AWS_SECRET", "AWS_TOKEN")
    for name in names:
        monkeypatch.setenv(name, "value")
    aws = Aws(
        region="eu-west-1",
        access_key_id=SecretRef(env="AWS_ID"),
        secret_access_key=SecretRef(env="AWS_SECRET"),
        session_token=SecretRef(env="AWS_TOKEN"),
    )
    spec = Provider(protocol="bedrock", aws=aws)
    assert providers.upstream("p", spec, "m") is not None
    for name in names:
        with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
            patch.delenv(name)
            assert providers.upstream("p", spec, "m") is None
        assert (logs[0]["event"], name in logs[0]["error"]) == ("provider_unusable", True)


async def test_a_changed_secret_of_aws_makes_a_new_account(providers, upstream, monkeypatch):
    aws = Aws(region="eu-west-1", access_key_id=SecretRef(env="AWS_ID"), secret_access_key=SecretRef(env="AWS_SECRET"))
    spec = provider(upstream.url, protocol="bedrock", aws=aws)
    for number in (1, 2):
        monkeypatch.setenv("AWS_ID", "id")
        monkeypatch.setenv("AWS_SECRET", f"secret{number}")
        await call(providers.upstream("p", spec, "m"))
    signatures = {request.header("authorization").rpartition("=")[2] for request in upstream.requests}
    assert (upstream.connections_opened, len(signatures)) == (2, 2)


async def test_signing_without_the_extra_makes_the_provider_unusable(providers, monkeypatch):
    monkeypatch.setenv("BEDROCK_KEY", "key")
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    aws = Aws(region="eu-west-1")
    with structlog.testing.capture_logs() as logs:
        assert providers.upstream("p", Provider(protocol="bedrock", aws=aws), "m") is None
    assert (logs[0]["event"], logs[0]["hint"]) == ("provider_unusable", "Install podium[bedrock].")
    with_key = Provider(protocol="bedrock", aws=aws, api_key=SecretRef(env="BEDROCK_KEY"))
    assert providers.upstream("p", with_key, "m") is not None


async def test_a_server_of_ones_own_is_called_without_a_signature(providers, upstream):
    await call(providers.upstream("p", provider(upstream.url, protocol="bedrock"), "m"))
    assert upstream.requests[0].path == "/v1/model/m/converse"
    assert upstream.requests[0].header("authorization") is None


def test_secrets_are_not_shown():
    assert "hidden" not in repr(Secrets("hidden", "hidden", "hidden", "hidden"))


# Headers and addresses.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "b\r\nx-evil: 1"),
        ("x-a", "b\nc"),
        ("x-a", "b\x00"),
        ("x-a", "日本"),
        ("x-a: b\r\nx-evil", "1"),
        ("x a", "b"),
        ("x-é", "b"),
        ("", "b"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
    ],
)
def test_a_header_that_could_break_a_request_is_refused(name, value):
    with pytest.raises(OperatorError):
        account_head("http://x/v1", api_key=None, headers={name: value})


def test_a_key_goes_where_the_protocol_wants_it():
    head = account_head("http://x", api_key="k", headers={}, key_header="x-api-key", fixed=(("accept", "*/*"),))
    assert b"x-api-key: k\r\n" in head and b"authorization" not in head
    assert head.count(b"accept: */*\r\n") == head.count(b"accept:") == 1


def test_configured_headers_replace_ours():
    head = account_head("http://x/v1", api_key="k", headers={"Authorization": "Basic x", "User-Agent": "me"})
    assert head.lower().count(b"authorization:") == 1
    assert b"authorization: Basic x\r\n" in head and b"user-agent: me\r\n" in head


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "http://",
        "http:///v1",
        "http://x:99999/v1",
        "http://x:port/v1",
        "http://x/v1 HTTP/1.1\r\nx-evil: 1\r\n",
        "http://x/v1\r\nx-evil:1",
        "http://x/a b",
        "http://x/v1?api-version=1",
        "http://x/v1#f",
        "http://x/v\u00e9",
        "http://[::1/v1",
    ],
)
def test_an_address_that_could_break_a_request_is_refused(url):
    with pytest.raises(OperatorError):
        origin_of(url, Tls())


@pytest.mark.parametrize(
    ("url", "host", "port", "sent"),
    [
        ("http://example.com/v1", "example.com", 80, b"host: example.com\r\n"),
        ("http://user:pass@example.com:8000/v1", "example.com", 8000, b"host: example.com:8000\r\n"),
        ("http://[::1]:8000/v1", "::1", 8000, b"host: [::1]:8000\r\n"),
        ("https://example.com", "example.com", 443, b"host: example.com\r\n"),
    ],
)
def test_an_address_is_where_to_connect_and_the_host_to_name(url, host, port, sent):
    origin = origin_of(url, Tls())
    assert (origin.host, origin.port, origin.tls is not None) == (host, port, url.startswith("https"))
    head = account_head(url, api_key=None, headers={})
    assert sent in head and b"pass" not in head


# Accounts.


async def test_an_account_outlives_snapshots_that_do_not_change_it(providers, upstream):
    spec = provider(upstream.url)
    for _ in range(3):
        one, other = providers.upstream("p", spec, "m"), providers.upstream("p", spec, "n")
        providers.retire_unused()
        await call(one)
        await call(other)
    assert upstream.connections_opened == 1 and providers.open_connections == 1


async def test_an_account_that_nothing_names_is_retired(providers, upstream):
    await call(providers.upstream("p", provider(upstream.url), "m"))
    providers.retire_unused()
    assert upstream.connections == 1
    providers.retire_unused()
    await eventually(lambda: upstream.connections == 0)
    assert providers.open_connections == 0


async def test_a_change_makes_a_new_account_and_the_old_one_goes(providers, upstream):
    await call(providers.upstream("p", provider(upstream.url), "m"))
    providers.retire_unused()
    await call(providers.upstream("p", provider(upstream.url, headers={"x-new": "1"}), "m"))
    providers.retire_unused()
    assert upstream.requests[1].header("x-new") == "1"
    await eventually(lambda: upstream.connections == 1)
    assert upstream.connections_opened == 2


async def test_a_local_model_is_served_by_its_worker_only(upstream):
    providers = Providers(LocalWorkers({"small": upstream.url.removesuffix("/v1")}, "worker-key"))
    local = Provider(protocol="local", timeouts=QUICK)
    assert providers.upstream("local", local, "other") is None
    assert (await call(providers.upstream("local", local, "small"))).status == 200
    assert upstream.requests[0].path == "/v1/chat/completions"
    assert upstream.requests[0].header("authorization") == "Bearer worker-key"
    providers.close()
    await eventually(lambda: upstream.connections == 0)


# Trust.


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def ca_file(ca, tmp_path):
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def server_context(ca, *names, client_ca=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*names).configure_cert(context)
    if client_ca is not None:
        client_ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_private_authority_is_trusted_when_declared(providers, ca, ca_file):
    async with ScriptedUpstream(tls=server_context(ca, "127.0.0.1")) as secure:
        one = providers.upstream("p", provider(secure.url, tls=Tls(ca_file=ca_file)), "m")
        assert [(await call(one)).status for _ in range(2)] == [200, 200]
        assert secure.connections_opened == 1
        providers.close()
        await eventually(lambda: secure.connections == 0)


@pytest.mark.parametrize("case", ["unknown authority", "another authority", "another name"])
async def test_a_server_that_cannot_be_trusted_gets_nothing(providers, ca, ca_file, case):
    issuer = trustme.CA() if case == "another authority" else ca
    name = "other.example" if case == "another name" else "127.0.0.1"
    tls = Tls() if case == "unknown authority" else Tls(ca_file=ca_file)
    async with ScriptedUpstream(tls=server_context(issuer, name)) as secure:
        with pytest.raises(UpstreamFailed) as raised:
            await call(providers.upstream("p", provider(secure.url, tls=tls), "m"))
        assert raised.value.reason == "upstream_unreachable"
        assert "TLS" in raised.value.hint
        assert not secure.requests and providers.open_connections == 0


async def test_verification_can_be_switched_off(providers, ca):
    async with ScriptedUpstream(tls=server_context(ca, "other.example")) as secure:
        assert (await call(providers.upstream("p", provider(secure.url, tls=Tls(verify=False)), "m"))).status == 200
        providers.close()
        await eventually(lambda: secure.connections == 0)


async def test_a_client_certificate_is_shown_to_a_server_that_asks(providers, ca, ca_file, tmp_path):
    clients = trustme.CA()
    ours = clients.issue_cert("podium.example")
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    async with ScriptedUpstream(tls=server_context(ca, "127.0.0.1", client_ca=clients)) as secure:
        with_ours = Tls(ca_file=ca_file, certificate_file=str(tmp_path / "ours.pem"))
        assert (await call(providers.upstream("p", provider(secure.url, tls=with_ours), "m"))).status == 200
        with pytest.raises(UpstreamFailed):
            await call(providers.upstream("q", provider(secure.url, tls=Tls(ca_file=ca_file)), "m"))
        assert len(secure.requests) == 1
        providers.close()
        await eventually(lambda: secure.connections == 0)


@pytest.mark.parametrize("content", [None, "", "nonsense"])
async def test_a_tls_file_that_cannot_be_used_makes_the_provider_unusable(providers, tmp_path, content):
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content)
    for tls in (Tls(ca_file=str(path)), Tls(certificate_file=str(path), key_file=str(path))):
        with structlog.testing.capture_logs() as logs:
            assert providers.upstream("p", provider("https://x/v1", tls=tls), "m") is None
        assert logs[0]["event"] == "provider_unusable"


async def test_plain_http_where_tls_is_spoken_and_the_other_way_round_is_an_error(providers, upstream, ca, ca_file):
    async with ScriptedUpstream(tls=server_context(ca, "127.0.0.1")) as secure:
        for url in (secure.url.replace("https", "http"), upstream.url.replace("http", "https")):
            with pytest.raises(UpstreamFailed):
                await call(providers.upstream("p", provider(url, tls=Tls(ca_file=ca_file)), "m"))
        assert not secure.requests and not upstream.requests
        await eventually(lambda: providers.open_connections == 0)
