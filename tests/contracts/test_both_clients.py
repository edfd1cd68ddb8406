"""One contract for the official `openai` and `anthropic` clients, against every protocol that may stand behind Podium."""

import base64
import json
import struct
import zlib

import pytest

from podium.testing.upstream import Behaviour, Mode, UpstreamProtocol
from podium.testing.upstream.behaviours import At, Cut, How
from podium.testing.waiting import eventually

each_protocol = pytest.mark.parametrize("protocol", [protocol.value for protocol in UpstreamProtocol])
streamed_or_not = pytest.mark.parametrize("way", ["say", "stream"])

WORDS = "".join(f"word{number} " for number in range(8))
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = (("weather", CITY), ("time", CITY))
SPEAKERS = ("openai", "anthropic")


@pytest.fixture(params=SPEAKERS)
def speaker(request, speaker_at, simulated):
    return speaker_at(request.param, simulated.url, simulated.api_key)


@pytest.fixture
def sent(simulator):
    """What the provider was asked last, as text; it found nothing wrong with it."""

    def text():
        assert simulator.refused() == []
        return json.dumps(json.loads(simulator.requests[-1].body), ensure_ascii=False)

    return text


@streamed_or_not
@each_protocol
async def test_a_chat(speaker, turn, sent, protocol, way):
    heard = await getattr(speaker, way)(protocol, turn.user("Say some words."))
    assert heard.text == WORDS
    assert heard.stop == speaker.stops["end"]
    assert (heard.input_tokens, heard.output_tokens) == (25, 8)
    assert heard.pieces == (8 if way == "stream" else 0)
    assert "Say some words." in sent()


@each_protocol
async def test_a_conversation_with_a_system_prompt(speaker, turn, sent, protocol):
    turns = turn.user("One?"), turn.assistant("Yes, one."), turn.user("And two?")
    heard = await speaker.say(protocol, *turns, system="Be brief.")
    assert heard.text == WORDS
    asked = sent()
    assert all(text in asked for text in ("Be brief.", "One?", "Yes, one.", "And two?"))
    assert asked.index("One?") < asked.index("Yes, one.") < asked.index("And two?")


@streamed_or_not
@each_protocol
async def test_parallel_tools_are_called_and_their_results_go_back(speaker, turn, simulator, sent, protocol, way):
    simulator.behave(Mode.PARALLEL_TOOLS, calls=1)
    question = turn.user("The weather and the time in Zürich?")
    heard = await getattr(speaker, way)(protocol, question, tools=TOOLS)
    assert heard.stop == speaker.stops["calls"]
    assert [(call.name, call.arguments) for call in heard.calls] == [
        ("weather", {"city": "Zürich"}),
        ("time", {"city": "Zürich"}),
    ]
    assert len({call.id for call in heard.calls}) == 2
    assert all(call.id for call in heard.calls)
    results = [(heard.calls[0].id, "It rains."), (heard.calls[1].id, "Noon.")]
    again = await getattr(speaker, way)(
        protocol, question, turn.called(heard.calls), turn.results(results), tools=TOOLS
    )
    assert (again.text, again.calls) == (WORDS, [])
    asked = sent()
    assert "It rains." in asked
    assert "Noon." in asked


@each_protocol
async def test_arguments_of_a_call_are_streamed(speaker, turn, simulator, protocol):
    simulator.behave(Mode.TOOL_CALL)
    heard = await speaker.stream(protocol, turn.user("The weather in Zürich?"), tools=TOOLS)
    assert [call.arguments for call in heard.calls] == [{"city": "Zürich"}]
    whole = protocol == "gemini"  # it gives each call in one piece
    assert heard.pieces >= 1 if whole else heard.pieces > 1


@pytest.mark.parametrize("choice", ["any", "time"])
@each_protocol
async def test_a_tool_that_must_be_called_is_called(speaker, turn, sent, protocol, choice):
    tools = TOOLS if choice == "any" else TOOLS[1:]
    heard = await speaker.say(protocol, turn.user("Now."), tools=tools, choice=choice)
    assert [call.name for call in heard.calls] == ["weather" if choice == "any" else "time"]
    sent()


@streamed_or_not
@each_protocol
async def test_an_answer_of_a_json_schema(speaker, turn, sent, protocol, way):
    heard = await getattr(speaker, way)(protocol, turn.user("Name a city."), schema=CITY)
    assert json.loads(heard.text) == {"city": "Zürich"}
    assert heard.stop == speaker.stops["end"]
    sent()


def png():
    """One red pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


@each_protocol
async def test_an_image_is_seen(speaker, turn, sent, protocol):
    image = base64.b64encode(png()).decode()
    heard = await speaker.say(protocol, turn.user("What colour?", image))
    assert heard.text == WORDS
    asked = sent()
    assert image in asked
    assert "What colour?" in asked


@pytest.mark.parametrize(("mode", "stop"), [(Mode.LENGTH, "length"), (Mode.CONTENT_FILTER, "filtered")])
@streamed_or_not
@each_protocol
async def test_why_the_model_stopped(speaker, turn, simulator, protocol, way, mode, stop):
    simulator.behave(mode)
    heard = await getattr(speaker, way)(protocol, turn.user("Say some words."))
    assert heard.stop == speaker.stops[stop]
    assert heard.text == WORDS


async def test_a_field_that_is_not_openais_goes_where_it_is_known(speaker_at, simulated, turn, sent):
    speaker = speaker_at("anthropic", simulated.url, simulated.api_key)
    for protocol, word in (("gemini", '"topK": 7'), ("bedrock", '"top_k": 7'), ("anthropic", '"top_k": 7')):
        await speaker.say(protocol, turn.user("Hi."), extra_body={"top_k": 7})
        assert word in sent()


# Errors are the client's own exceptions.

ERRORS = {
    Mode.BAD_REQUEST: ("BadRequestError", {400}),
    Mode.CONTEXT_TOO_LONG: ("BadRequestError", {400}),
    Mode.NOT_FOUND: ("NotFoundError", {404}),
    Mode.RATE_LIMITED_RETRY_AFTER: ("RateLimitError", {429}),
    Mode.SERVER_ERROR: ("InternalServerError", {502}),
    Mode.UNAUTHORIZED: ("InternalServerError", {502}),  # of our key: no business of the caller's
    Mode.FORBIDDEN: ("InternalServerError", {502}),
    Mode.OVERLOADED: ("APIStatusError", {503}),
    Mode.RESETS_AT_START: ("InternalServerError", {502}),
    Mode.MALFORMED_FIRST: ("InternalServerError", {502}),
}


@pytest.mark.parametrize(("mode", "kind"), list(ERRORS.items()), ids=list(ERRORS))
@streamed_or_not
@each_protocol
async def test_an_error_is_the_clients_own(speaker, turn, simulator, protocol, way, mode, kind):
    if mode is Mode.MALFORMED_FIRST and way == "say":
        mode = Mode.MALFORMED_JSON
    simulator.behave(mode)
    name, statuses = kind
    with pytest.raises(getattr(speaker.module, name)) as raised:
        await getattr(speaker, way)(protocol, turn.user("Hi."))
    assert raised.value.status_code in statuses
    assert raised.value.message
    assert raised.value.request_id
    if mode is Mode.RATE_LIMITED_RETRY_AFTER:
        assert raised.value.response.headers["retry-after"] in {"6", "7", "8"}


async def test_an_error_of_ours_is_the_clients_own(speaker, turn, speaker_at, simulated):
    with pytest.raises(speaker.module.NotFoundError) as raised:
        await speaker.say("nothing", turn.user("Hi."))
    assert raised.value.status_code == 404
    name = speaker.module.__name__
    with pytest.raises(speaker.module.AuthenticationError):
        await speaker_at(name, simulated.url, "wrong").say("openai", turn.user("Hi."))
    with pytest.raises(speaker.module.BadRequestError):
        await speaker.say("openai")  # no messages


@pytest.mark.parametrize("how", [How.RESET, How.ERROR, How.FINISH])
@each_protocol
async def test_a_stream_that_breaks_raises_and_is_not_taken_for_the_end(speaker, turn, simulator, protocol, how):
    simulator.behave(Behaviour(between_s=0.005, cut=Cut(At.MIDDLE, how)))
    pieces = []

    async def read():
        async for piece in speaker.pieces(protocol, turn.user("Hi.")):
            pieces.append(piece)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(speaker.module.APIError):
        await read()
    text = "".join(pieces)
    assert text
    assert WORDS.startswith(text)
    assert text != WORDS


@each_protocol
async def test_a_cancelled_stream_cancels_the_call(speaker, turn, simulator, simulated, protocol):
    simulator.behave(Behaviour(chunks=500, between_s=0.01))
    stream = speaker.pieces(protocol, turn.user("Hi."))
    async for piece in stream:
        if piece.startswith("word3"):
            break
    await stream.aclose()
    await eventually(lambda: simulator.requests[-1].disconnected_at_s is not None, timeout_s=2)
    await eventually(lambda: simulated.events, timeout_s=2)
    assert simulated.events[-1].reason == "client_gone"
    assert 0 < simulated.events[-1].output_tokens < 500
