"""Amazon's `botocore` takes the simulator for Bedrock: shapes, frames and signatures."""

import asyncio
import contextlib

import pytest

from podium.testing.upstream.credentials import AWS_KEY, AWS_SECRET
from podium.testing.upstream.modes import Mode
from podium.testing.upstream.protocols import UpstreamProtocol

HELLO = [{"role": "user", "content": [{"text": "Hello?"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in ("weather", "time")]}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
WORDS = "".join(f"word{number} " for number in range(8))
MODEL = "anthropic.claude-sonnet:0"


@pytest.fixture(scope="module")
def service():
    """What makes clients; reading the service's description takes a while."""
    session = pytest.importorskip("botocore.session").Session()
    config = pytest.importorskip("botocore.config").Config(retries={"max_attempts": 0}, proxies={}, read_timeout=10)

    def make(url, secret=AWS_SECRET):
        return session.create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id=AWS_KEY,
            aws_secret_access_key=secret,
            config=config,
        )

    return make


@pytest.fixture
def call(service, simulator):
    """Calls one operation, in a thread; of a stream it returns the events as a list."""
    client = service(simulator.base_url(UpstreamProtocol.BEDROCK))

    def run(operation, fields):
        answer = getattr(client, operation)(**{"modelId": MODEL, "messages": HELLO} | fields)
        if "stream" not in answer:
            return answer
        with contextlib.closing(answer["stream"]) as stream:
            return list(stream)

    async def send(operation="converse", **fields):
        return await asyncio.to_thread(run, operation, fields)

    yield send
    client.close()


def put_together(events):
    """(content, stop reason, usage) of a stream, in the form of a whole answer."""
    blocks, stop, usage = {}, None, None
    for event in events:
        ((kind, value),) = event.items()
        if kind == "contentBlockStart":
            blocks[value["contentBlockIndex"]] = value["start"]["toolUse"] | {"input": ""}
        elif kind == "contentBlockDelta":
            add_delta(blocks, value["contentBlockIndex"], value["delta"])
        elif kind == "messageStop":
            stop = value["stopReason"]
        elif kind == "metadata":
            usage = value["usage"]
    return list(blocks.values()), stop, usage


def add_delta(blocks, index, delta):
    if "text" in delta:
        blocks[index] = blocks.get(index, "") + delta["text"]
    elif "toolUse" in delta:
        blocks[index]["input"] += delta["toolUse"]["input"]
    else:
        text, signature = blocks.get(index, ("", ""))
        thought = delta["reasoningContent"]
        blocks[index] = (text + thought.get("text", ""), signature + thought.get("signature", ""))


async def test_a_message_with_a_good_signature(simulator, call):
    answer = await call()
    assert answer["output"]["message"]["content"] == [{"text": WORDS}]
    assert answer["stopReason"] == "end_turn"
    assert (answer["usage"]["inputTokens"], answer["usage"]["outputTokens"]) == (25, 8)
    assert simulator.requests[0].model == MODEL
    assert simulator.requests[0].header("authorization").startswith("AWS4-HMAC-SHA256 ")


async def test_a_signature_by_another_secret_is_refused(service, simulator):
    client = service(simulator.base_url(UpstreamProtocol.BEDROCK), secret="another")
    with pytest.raises(client.exceptions.ClientError, match="UnrecognizedClientException"):
        await asyncio.to_thread(client.converse, modelId=MODEL, messages=HELLO)
    client.close()


async def test_a_stream(call):
    content, stop, usage = put_together(await call("converse_stream"))
    assert (content, stop, usage["totalTokens"]) == ([WORDS], "end_turn", 33)


async def test_thinking_and_parallel_tools_and_their_results(simulator, call):
    simulator.behave(Mode.PARALLEL_TOOLS)
    asked = {"toolConfig": TOOLS, "additionalModelRequestFields": THINKING}
    answer = await call(**asked)
    message = answer["output"]["message"]
    thought, *calls = message["content"]
    assert thought["reasoningContent"]["reasoningText"]["text"] == "thought0 thought1 thought2 "
    assert [block["toolUse"]["name"] for block in calls] == ["weather", "time"]
    assert answer["stopReason"] == "tool_use"
    (streamed_thought, *streamed_calls), stop, _ = put_together(await call("converse_stream", **asked))
    assert streamed_thought[0] == "thought0 thought1 thought2 " and streamed_thought[1]
    assert [call["input"] for call in streamed_calls] == ['{"city": "Zürich"}'] * 2
    assert stop == "tool_use"
    results = [
        {"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [{"text": "fine"}]}} for block in calls
    ]
    again = await call(messages=[*HELLO, message, {"role": "user", "content": results}], **asked)
    assert again["output"]["message"]["content"][-1] == {"text": WORDS}


async def test_output_by_a_schema(call):
    schema = '{"type": "object", "properties": {"city": {"type": "string"}}}'
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "city"}}}
    answer = await call(outputConfig={"textFormat": form})
    assert answer["output"]["message"]["content"] == [{"text": '{"city": "Zürich"}'}]


async def test_what_the_cache_did_is_counted_apart(simulator, call):
    simulator.behave(Mode.CACHED)
    usage = (await call())["usage"]
    assert (usage["inputTokens"], usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (25, 100, 40)
    assert usage["totalTokens"] == 173


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.LENGTH, "max_tokens"),
        (Mode.CONTENT_FILTER, "content_filtered"),
        (Mode.CONTENT_REFUSED, "guardrail_intervened"),
    ],
)
async def test_stop_reasons(simulator, call, mode, reason):
    simulator.behave(mode)
    assert (await call())["stopReason"] == reason
    assert put_together(await call("converse_stream"))[1] == reason


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        (Mode.BAD_REQUEST, "ValidationException"),
        (Mode.CONTEXT_TOO_LONG, "ValidationException"),
        (Mode.UNAUTHORIZED, "UnrecognizedClientException"),
        (Mode.FORBIDDEN, "AccessDeniedException"),
        (Mode.NOT_FOUND, "ResourceNotFoundException"),
        (Mode.RATE_LIMITED, "ThrottlingException"),
        (Mode.SERVER_ERROR, "InternalServerException"),
        (Mode.UNAVAILABLE, "ServiceUnavailableException"),
    ],
)
async def test_errors_are_those_of_the_client(simulator, call, mode, code):
    from botocore.exceptions import ClientError

    simulator.behave(mode)
    with pytest.raises(ClientError) as raised:
        await call("converse_stream")
    assert raised.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        (Mode.ERROR_MIDWAY, "EventStreamError"),
        (Mode.BAD_CRC, "ChecksumMismatch"),
        (Mode.BAD_PRELUDE_CRC, "ChecksumMismatch"),
        (Mode.BAD_FRAME_LENGTH, "InvalidPayloadLength"),
        (Mode.OVERSIZED, "InvalidPayloadLength"),
    ],
)
async def test_what_breaks_a_stream_is_noticed(simulator, call, mode, error):
    simulator.behave(mode)
    with pytest.raises(Exception, match=r".") as raised:
        await call("converse_stream")
    assert raised.typename == error
