"""The data plane's HTTP/1.1: framing, patience, order, and callers that go away.

The gateway fixtures check after each test that nothing is in flight and that the next caller is served.
"""

import asyncio
import contextlib
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from podium.testing.behaviour import Behaviour
from podium.testing.openai_requests import chat_body, openai_error, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.waiting import eventually
from podium.web.settings import GatewayServerSettings

IMPATIENT = GatewayServerSettings(port=0, head_timeout_s=0.3, body_timeout_s=0.3, keep_alive_s=0.3, write_timeout_s=0.5)


def chat(gateway, **request):
    fields = request.pop("fields", {})
    return request_bytes(chat_body(**fields), key=gateway.api_key, **request)


def head(gateway, *lines, path="/v1/chat/completions", method="POST", version="1.1"):
    """A head with exactly these further lines."""
    first = [f"{method} {path} HTTP/{version}", "host: podium.test", f"authorization: Bearer {gateway.api_key}"]
    return "\r\n".join([*first, "content-type: application/json", *lines, "", ""]).encode("latin-1")


async def answer_to(gateway, data, *, method="POST"):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data)
        return await client.read_response(method=method)


async def refused(gateway, data):
    """The answer to bytes that must be refused: a 4xx in shape, then the connection closes."""
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data)
        answer = await client.read_response()
        assert 400 <= answer.status < 500
        openai_error(answer)
        assert await client.read_to_end() == b""
        return answer


# Framing


MALFORMED = {
    "no_http": b"hello\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100,
    "http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http_9": b"GET / HTTP/9.9\r\n\r\n",
    "no_version_blank": b"GET /v1/models\r\n\r\n\r\n",
    "bad_method": b"B(R)EW /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
    "space_in_target": b"GET /v1/ models HTTP/1.1\r\nhost: x\r\n\r\n",
    "space_before_colon": b"GET /v1/models HTTP/1.1\r\nhost : x\r\n\r\n",
    "no_colon": b"GET /v1/models HTTP/1.1\r\nhost\r\n\r\n",
    "empty_name": b"GET /v1/models HTTP/1.1\r\n: x\r\n\r\n",
    "nul_in_value": b"GET /v1/models HTTP/1.1\r\nhost: x\x00y\r\n\r\n",
    "bare_cr": b"GET /v1/models HTTP/1.1\r\nhost: x\ry: z\r\n\r\n",
    "negative_length": b"POST /v1/models HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "signed_length": b"POST /v1/models HTTP/1.1\r\ncontent-length: +1\r\n\r\nx",
    "hex_length": b"POST /v1/models HTTP/1.1\r\ncontent-length: 0x1\r\n\r\nx",
    "huge_length": b"POST /v1/models HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\nx",
    "two_lengths": b"POST /v1/models HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    "length_list": b"POST /v1/models HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\nx",
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("piece", [None, 1])
async def test_what_is_no_http_is_refused(gateway, case, piece):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(MALFORMED[case], piece=piece)
        answer = await client.read_response()
        assert 400 <= answer.status < 500  # to llhttp, a request line without a version is HTTP/0.9: a 401
        openai_error(answer)
        assert await client.read_to_end() == b""


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 5"),
        ("transfer-encoding: xchunked",),
        ("transfer-encoding: chunked, identity",),
        ("transfer-encoding: identity", "content-length: 5"),
        ("transfer-encoding: chunked", "transfer-encoding: identity"),
        ("transfer-encoding : chunked",),
        ("transfer-encoding: chunked", "content-length : 5"),
    ],
)
async def test_a_body_with_two_lengths_is_refused_because_two_servers_would_cut_it_differently(
    gateway, upstream, lines
):
    assert (await refused(gateway, head(gateway, *lines) + b"0\r\n\r\n" + SMUGGLED)).status == 400
    assert not upstream.requests


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\nabc\r\n",
        b"fffffffffffffffff\r\n",
        b"3\r\nabcd\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabcX\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n",
    ],
)
async def test_a_bad_chunk_is_refused(gateway, upstream, chunks):
    answer = await refused(gateway, head(gateway, "transfer-encoding: chunked") + chunks)
    assert answer.status == 400
    assert not upstream.requests


@pytest.mark.parametrize("piece", [1, 7, None])
async def test_a_chunked_body_is_put_together(gateway, upstream, piece):
    body = chat_body()
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:10], body[10:]))
    async with await RawConnection.open(gateway.port) as client:
        await client.send(head(gateway, "transfer-encoding: chunked") + chunks + b"0\r\nx-sum: 1\r\n\r\n", piece=piece)
        assert (await client.read_response()).status == 200
    assert upstream.requests[0].json()["messages"] == [{"role": "user", "content": "one two three"}]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_request_may_come_byte_by_byte(gateway, version):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway, version=version), piece=1)
        assert (await client.read_response()).status == 200


async def test_a_huge_head_is_refused(gateway):
    answer = await refused(gateway, head(gateway, "x-big: " + "a" * 100_000))
    assert answer.status in {413, 431}


async def test_a_head_that_never_ends_is_refused(gateway):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(b"GET /v1/models HTTP/1.1\r\nx-big: " + b"a" * 100_000)
        assert (await client.read_response()).status in {413, 431}
        with pytest.raises((ConnectionError, TimeoutError)):  # what still comes is dropped, but not for long
            await client.send(b"a" * 100_000, piece=100, pause_s=0.01)


async def test_too_many_headers_are_refused(gateway):
    answer = await refused(gateway, head(gateway, *(f"x-{number}: {number}" for number in range(20_000))))
    assert answer.status in {400, 413, 431}


async def test_a_hundred_headers_are_fine(gateway):
    answer = await answer_to(gateway, chat(gateway, headers={f"x-{number}": str(number) for number in range(100)}))
    assert answer.status == 200


# Methods and targets


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
async def test_a_wrong_method_is_told_the_right_one(gateway, method):
    answer = await answer_to(
        gateway, request_bytes(method=method, path="/v1/chat/completions", key=gateway.api_key), method=method
    )
    assert answer.status == 405
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert openai_error(answer)["code"] == "method_not_allowed"
    assert "POST" in (answer.header("allow") or "")


async def test_connect_is_refused(gateway):
    answer = await answer_to(gateway, b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n")
    assert 400 <= answer.status < 500
    openai_error(answer)


async def test_head_of_a_readable_resource_has_no_body_and_keeps_the_connection(gateway):
    async with await RawConnection.open(gateway.port) as client:
        for _ in range(2):
            await client.send(request_bytes(method="HEAD", path="/healthz"))
            answer = await client.read_response(method="HEAD")
            assert answer.status in {200, 405}


@pytest.mark.parametrize("path", ["/v1/models?limit=3", "/v1/models?"])
async def test_the_target_may_have_a_query(gateway, path):
    answer = await answer_to(gateway, request_bytes(path=path, key=gateway.api_key), method="GET")
    assert answer.status == 200
    assert answer.json()["object"] == "list"


@pytest.mark.parametrize("path", ["http://podium.test/v1/models", "http://podium.test/v1/models?x=%20"])
async def test_the_target_may_be_absolute(gateway, path):
    answer = await answer_to(gateway, request_bytes(path=path, key=gateway.api_key), method="GET")
    assert answer.status == 200
    assert answer.json()["object"] == "list"


async def test_an_upgrade_is_not_taken_and_the_request_is_answered(gateway):
    # curl --http2 and Java's HttpClient ask for h2c with every request, bodies included.
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    answer = await answer_to(gateway, chat(gateway, headers=headers))
    assert answer.status == 200


# HTTP/1.0 and keep-alive


async def test_http_1_0_gets_its_answer_and_the_end_of_the_connection(gateway):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway, version="1.0"))
        assert (await client.read_response()).status == 200
        assert await client.read_to_end() == b""


async def test_http_1_0_streams_end_with_the_connection(gateway):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway, version="1.0", fields={"stream": True}))
        answer = await client.read_response()
    assert answer.header("transfer-encoding") is None
    assert answer.events()[-1] == "[DONE]"


async def test_connection_close_is_honoured(gateway):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway, headers={"connection": "close"}))
        assert (await client.read_response()).status == 200
        assert await client.read_to_end() == b""


async def test_a_connection_is_kept_over_answers_streams_and_errors(gateway):
    async with await RawConnection.open(gateway.port) as client:
        statuses = []
        for data in (
            chat(gateway),
            chat(gateway, fields={"stream": True}),
            chat(gateway, fields={"model": "none"}),
            request_bytes(path="/nowhere"),
            request_bytes(b"{", key=gateway.api_key),
            chat(gateway),
        ):
            await client.send(data)
            statuses.append((await client.read_response()).status)
    assert statuses == [200, 200, 404, 404, 400, 200]


# Expect: 100-continue


async def test_a_caller_that_waits_to_be_asked_is_asked(gateway):
    body = chat_body()
    async with await RawConnection.open(gateway.port) as client:
        await client.send(head(gateway, f"content-length: {len(body)}", "expect: 100-continue"))
        assert (await client.read_head()).status == 100
        await client.send(body)
        assert (await client.read_response()).status == 200


async def test_a_caller_that_does_not_wait_is_answered_too(gateway):
    body = chat_body()
    answer = await answer_to(gateway, head(gateway, f"content-length: {len(body)}", "expect: 100-continue") + body)
    assert answer.status == 200


async def test_a_caller_that_will_be_refused_is_not_asked_for_its_body(gateway):
    lines = "content-length: 10000000", "expect: 100-continue"
    data = head(gateway, *lines).replace(gateway.api_key.encode(), b"pk_wrong")
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data)
        assert (await client.read_head()).status == 401


# Pipelining


@pytest.mark.parametrize("piece", [None, 100])
async def test_pipelined_requests_are_answered_in_order(gateway, piece):
    asked = [1, 5, 2, 8, 3, 1]
    data = b"".join(chat(gateway, fields={"max_tokens": number}) for number in asked)
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data, piece=piece)
        answers = [await client.read_response() for _ in asked]
    assert [answer.json()["usage"]["completion_tokens"] for answer in answers] == asked


async def test_a_hundred_pipelined_requests_are_all_answered(gateway):
    data = b"".join(
        request_bytes(path=f"/v1/models/none-{number}", key=gateway.api_key, headers={"x-request-id": f"id-{number}"})
        for number in range(100)
    )
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data)
        ids = [(await client.read_response()).header("x-request-id") for _ in range(100)]
    assert ids == [f"id-{number}" for number in range(100)]


async def test_a_bad_request_behind_a_good_one_does_not_spoil_it(gateway):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway))
        assert (await client.read_response()).status == 200
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.read_response()).status == 400
        assert await client.read_to_end() == b""


async def test_a_streamed_answer_is_whole_before_the_next_begins(gateway):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway, fields={"stream": True}) + chat(gateway))
        assert (await client.read_response()).events()[-1] == "[DONE]"
        assert (await client.read_response()).json()["object"] == "chat.completion"


# Patience


async def closed_within(client, seconds):
    started = time.monotonic()
    await client.read_to_end()
    assert time.monotonic() - started < seconds


@pytest.mark.parametrize("sent", [b"P", b"POST /v1/chat/completions HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nx: "])
async def test_a_head_that_comes_too_slowly_is_refused(open_gateway, sent):
    gateway = await open_gateway(server=IMPATIENT)
    async with await RawConnection.open(gateway.port) as client:
        await client.send(sent, piece=4)
        answer = await client.read_response()
        assert answer.status == 408
        assert openai_error(answer)["code"] == "request_timeout"
        await closed_within(client, 3)


async def test_a_slow_loris_does_not_win_time_with_each_byte(open_gateway):
    gateway = await open_gateway(server=IMPATIENT)
    started = time.monotonic()
    async with await RawConnection.open(gateway.port) as client:
        with pytest.raises(ConnectionError):
            await client.send(head(gateway, "x: " + "y" * 10_000), piece=1, pause_s=0.02)
    assert time.monotonic() - started < 5


async def test_a_body_that_comes_too_slowly_is_refused(open_gateway, upstream):
    gateway = await open_gateway(server=IMPATIENT)
    async with await RawConnection.open(gateway.port) as client:
        await client.send(head(gateway, "content-length: 500") + b'{"model"')
        answer = await client.read_response()
        assert answer.status == 408
        assert openai_error(answer)["code"] == "request_timeout"
        await closed_within(client, 5)
    assert not upstream.requests


async def test_an_idle_connection_is_closed_without_a_word(open_gateway):
    gateway = await open_gateway(server=IMPATIENT)
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway))
        assert (await client.read_response()).status == 200
        assert await client.read_to_end() == b""


async def test_a_slow_answer_is_not_idleness(open_gateway, upstream):
    upstream.behaviour = Behaviour(chunks=8, between_chunks_s=0.15)
    gateway = await open_gateway(server=IMPATIENT)
    answer = await answer_to(gateway, chat(gateway, fields={"stream": True}))
    assert answer.events()[-1] == "[DONE]"


async def test_a_caller_that_takes_nothing_is_given_up(open_gateway, upstream):
    upstream.behaviour = Behaviour(text=" ".join(["x" * 100_000] * 400))
    gateway = await open_gateway(server=IMPATIENT)
    async with await RawConnection.open(gateway.port, receive_buffer=4096) as client:
        await client.send(chat(gateway, fields={"stream": True}))
        await eventually(lambda: gateway.events, timeout_s=5)
    assert gateway.events[0].reason == "client_gone"
    await eventually(lambda: upstream.requests[0].disconnected_at_s or upstream.requests[0].finished_at_s)


async def test_a_caller_that_is_refused_while_it_sends_can_read_why(gateway):
    data = head(gateway, "content-length: 5000000").replace(gateway.api_key.encode(), b"pk_wrong")
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data)
        await client.send(b"x" * 4_000_000, piece=50_000)
        assert (await client.read_response()).status == 401


async def test_one_connection_too_many_is_closed_and_the_others_go_on(open_gateway):
    gateway = await open_gateway(server=GatewayServerSettings(port=0, max_connections=2))
    async with await RawConnection.open(gateway.port) as first, await RawConnection.open(gateway.port) as second:
        for client in (first, second):
            await client.send(chat(gateway))
            assert (await client.read_response()).status == 200
        async with await RawConnection.open(gateway.port) as third:
            assert await third.read_to_end() == b""
        await first.send(chat(gateway))
        assert (await first.read_response()).status == 200


# Request ids


@pytest.mark.parametrize("given", ["x" * 129, "caf\xe9", "a\tb", ""])
async def test_a_request_id_that_is_unfit_is_replaced(gateway, given):
    answer = await answer_to(gateway, chat(gateway, headers={"x-request-id": given}))
    assert answer.status == 200
    assert (answer.header("x-request-id") or "").startswith("req_")


async def test_a_request_id_is_kept_up_to_128_characters(gateway):
    given = "id/with:marks-and.more_" + "x" * 105
    answer = await answer_to(gateway, chat(gateway, headers={"x-request-id": given}))
    assert answer.header("x-request-id") == given
    await eventually(lambda: gateway.events)
    assert gateway.events[0].request_id == given


# Callers that go away


@pytest.mark.parametrize("how", ["reset", "close", "half_close"])
async def test_a_caller_may_go_away_at_any_byte_of_its_request(gateway, how):
    data = chat(gateway)
    for size in range(0, len(data), 13):
        async with await RawConnection.open(gateway.port) as client:
            await client.send(data[:size])
            getattr(client, how)()
    await eventually(lambda: gateway.in_flight == 0)


async def cancelled_within(gateway, upstream, how, *, reading, seconds, tries=5):
    """One caller goes away, how it does once the call runs, and upstream feels it soon.

    The machine may be busy with something else at that moment, so a slow one is tried again.
    """
    for _ in range(tries):
        async with await RawConnection.open(gateway.port) as client:
            calls = len(upstream.requests)
            await client.send(chat(gateway, fields={"stream": True}))
            await (client.read_until(reading) if reading else eventually(lambda: len(upstream.requests) > calls))  # noqa: B023
            getattr(client, how)()
            gone = time.monotonic()
            await eventually(lambda: upstream.requests[-1].disconnected_at_s)
        if upstream.requests[-1].disconnected_at_s - gone < seconds:
            return True
    return False


@pytest.mark.parametrize("how", ["reset", "close", "half_close"])
async def test_a_caller_may_go_away_while_it_waits(gateway, upstream, how):
    upstream.behaviour = Behaviour(before_head_s=30)
    assert await cancelled_within(gateway, upstream, how, reading=None, seconds=0.1)
    await eventually(lambda: len(gateway.events) == len(upstream.requests))
    assert {(event.reason, event.status) for event in gateway.events} == {("client_gone", 499)}
    upstream.behaviour = Behaviour()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_caller_that_goes_mid_stream_cancels_the_call_and_pays_for_what_it_got(gateway, upstream, how):
    upstream.behaviour = Behaviour(chunks=1000, between_chunks_s=0.01)
    assert await cancelled_within(gateway, upstream, how, reading=b"word19 ", seconds=0.1)
    await eventually(lambda: len(gateway.events) == len(upstream.requests))
    for event in gateway.events:
        assert (event.reason, event.fault) == ("client_gone", "caller")
        assert event.tokens_estimated
        assert 20 <= event.output_tokens <= 200
        assert event.input_tokens > 0
        assert event.cost_nanousd == event.input_tokens * 1000 + event.output_tokens * 2000


async def test_a_caller_that_goes_among_pipelined_requests_leaves_nothing(gateway, upstream):
    upstream.behaviour = Behaviour(before_head_s=0.2)
    async with await RawConnection.open(gateway.port) as client:
        await client.send(chat(gateway) * 10)
        await eventually(lambda: upstream.requests)
        client.reset()
    await eventually(lambda: gateway.in_flight == 0)
    assert len(upstream.requests) <= 2
    upstream.behaviour = Behaviour()


# Back-pressure


async def settled(sample, *, quiet_s=0.3):
    """The value at which `sample()` has stopped growing."""
    value, since = sample(), time.monotonic()
    while time.monotonic() - since < quiet_s:
        await asyncio.sleep(0.02)
        if sample() != value:
            value, since = sample(), time.monotonic()
    return value


async def test_a_caller_that_does_not_read_stops_the_reading_upstream_and_loses_nothing(gateway, upstream):
    pieces, size = 500, 100_000
    upstream.behaviour = Behaviour(text=" ".join(["x" * size] * pieces))
    async with await RawConnection.open(gateway.port, receive_buffer=4096) as client:
        await client.send(chat(gateway, fields={"stream": True}))
        await client.read_until(b"\r\n\r\n")
        # Between the two lie four socket buffers of a few MB at most; the rest of the 50 MB must wait upstream.
        assert await settled(lambda: upstream.requests[0].body_sent) < 25_000_000
        assert not gateway.events
        received = await client.read_until(b"data: [DONE]\n\n")
    assert received.count(b"x") >= pieces * size
    await eventually(lambda: gateway.events)
    assert gateway.events[0].reason == "ok"


# Anything at all


METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS"])
TARGETS = st.sampled_from([b"/v1/models", b"/v1/chat/completions", b"/", b"/v1/embeddings"])
HEADER_LINES = st.lists(
    st.sampled_from(
        [
            b"content-length: 2",
            b"content-length: 0",
            b"content-length: 7",
            b"transfer-encoding: chunked",
            b"connection: close",
            b"connection: keep-alive",
            b"connection: upgrade",
            b"upgrade: websocket",
            b"expect: 100-continue",
            b"content-type: application/json",
            b"host: x",
            b" folded",
            b"x:\t y \t",
        ]
    ),
    max_size=5,
)
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def survives(gateway, data):
    async with await RawConnection.open(gateway.port) as client:
        await client.send(data)
        received = b""
        with contextlib.suppress(TimeoutError):  # an unfinished request has no answer yet
            async with asyncio.timeout(0.03):
                received += await client.read()
        client.half_close()
        received += await client.read_to_end()
    statuses = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]
    assert all(status < 500 for status in statuses), received


@FUZZ
@given(data=st.binary(max_size=300))
@example(data=b"\r\n\r\n\r\n")
async def test_any_bytes_leave_the_server_alive(gateway, data):
    await survives(gateway, data)


@FUZZ
@given(parts=st.tuples(METHODS, TARGETS, HEADER_LINES, st.binary(max_size=30)), times=st.integers(1, 3))
async def test_any_mix_of_headers_leaves_the_server_alive(gateway, parts, times):
    method, target, lines, body = parts
    request = method + b" " + target + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    await survives(gateway, request * times)


@FUZZ
@given(place=st.integers(0, 400), change=st.binary(max_size=3), cut=st.integers(0, 3))
async def test_any_small_damage_to_a_good_request_leaves_the_server_alive(gateway, place, change, cut):
    good = chat(gateway)
    place %= len(good)
    await survives(gateway, good[:place] + change + good[place + cut :])


async def test_many_callers_at_once_each_get_their_own_answer(gateway):
    async def one(number):
        answer = await answer_to(
            gateway, chat(gateway, fields={"max_tokens": number % 8 + 1, "stream": bool(number % 2)})
        )
        if number % 2:
            return sum('"content": "word' in event for event in answer.events()) == number % 8 + 1
        return answer.json()["usage"]["completion_tokens"] == number % 8 + 1

    assert all(await asyncio.gather(*(one(number) for number in range(100))))


async def test_a_broken_caller_does_not_disturb_the_others(gateway):
    async def broken():
        async with await RawConnection.open(gateway.port) as client:
            await client.send(chat(gateway)[:100])
            client.reset()

    async def sound():
        return (await answer_to(gateway, chat(gateway))).status

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sound() if number % 2 else broken()) for number in range(60)]
    assert {task.result() for task in tasks} == {200, None}
