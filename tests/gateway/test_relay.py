"""A stream on its way through, cut at every byte, against a fake upstream and a fake caller."""

import json

import pytest

from podium.core.errors import UpstreamFailed
from podium.core.usage import Usage
from podium.gateway.faces import face_of
from podium.gateway.relay import StreamRelay

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class FakeCaller:
    """Keeps what it is sent; `room` False makes it full."""

    def __init__(self):
        self.started = []
        self.written = []
        self.room = True
        self.has_room = None

    def start(self, status, headers):
        self.started.append((status, headers))

    def write(self, data):
        assert self.started, "a piece before the head"
        self.written.append(data)
        return self.room

    def on_room(self, callback):
        self.has_room = callback

    @property
    def seen(self):
        return b"".join(self.written)


class FakeAnswer:
    """Hands on the pieces; `error` breaks it off after them."""

    def __init__(self, pieces, error=None):
        self.pieces = pieces
        self.error = error
        self.log = []
        self.taken = 0

    async def relay(self, on_piece):
        for piece in self.pieces:
            self.taken += 1
            if not on_piece(piece):
                return
        if self.error is not None:
            raise self.error

    def pause(self):
        self.log.append("pause")

    def resume(self):
        self.log.append("resume")


def event(value, end="\n"):
    return f"data: {value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}{end}{end}".encode()


def chunk(content=None, *, finish=None, **more):
    delta = {} if content is None else {"content": content}
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


ROLE = chunk("") | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
USAGE_ONLY = {"id": "c", "choices": [], "usage": USAGE}


FACE = face_of("chat.completions")


class Run:
    """One relay of `pieces`; `error` is what it raised."""

    def __init__(self, pieces, *, hide_usage=False, error=None):
        self.caller = FakeCaller()
        self.answer = FakeAnswer(pieces, error)
        self.commits = 0
        self.relay = StreamRelay(self.answer, self.caller, FACE, hide_usage=hide_usage, begin=self._begin)
        self.error = None

    def _begin(self):
        self.commits += 1
        return []

    async def go(self):
        try:
            await self.relay.run()
        except UpstreamFailed as error:
            self.error = error
        return self


def splits(stream):
    """The stream cut at each byte, byte by byte, and whole."""
    yield from ([stream[:cut], stream[cut:]] for cut in range(1, len(stream)))
    yield [stream[place : place + 1] for place in range(len(stream))]
    yield [stream]


ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


def realistic(end="\n"):
    """An OpenAI stream with usage, and a comment as OpenRouter sends it."""
    comment = f": OPENROUTER PROCESSING{end}{end}".encode()
    before = [
        comment,
        event(ROLE | {"usage": None}, end),
        event(chunk('say "usage": {} and [DONE]\n\ndata: x', usage=None), end),
        event(chunk("é日本", usage=None), end),
        event(chunk(finish="stop", usage=None), end),
    ]
    return before, event(USAGE_ONLY, end), event("[DONE]", end)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("hide_usage", [True, False])
async def test_the_caller_sees_the_same_however_the_bytes_arrive(end, hide_usage):
    before, usage, done = realistic(ENDS[end])
    expected = b"".join(before) + (b"" if hide_usage else usage)
    for pieces in splits(b"".join([*before, usage, done])):
        run = await Run(pieces, hide_usage=hide_usage).go()
        assert run.error is None
        assert run.caller.seen == expected
        assert run.relay.usage == Usage(input_tokens=9, output_tokens=3)
        assert (run.relay.done, run.relay.finished, run.commits) == (True, True, 1)
        assert run.relay.bytes_out == len(expected)
        assert run.caller.started == [(200, [])]


async def test_usage_beside_content_is_never_hidden():
    stream = event(chunk("a")) + event(chunk("b", usage=USAGE)) + event(chunk(finish="stop", usage=USAGE))
    for pieces in splits(stream + event("[DONE]")):
        run = await Run(pieces, hide_usage=True).go()
        assert run.caller.seen == stream
        assert run.relay.usage == Usage(input_tokens=9, output_tokens=3)


async def test_the_last_report_of_usage_counts():
    growing = [event(chunk("a", usage=USAGE | {"completion_tokens": count})) for count in (1, 2, 7)]
    run = await Run([*growing, event("[DONE]")]).go()
    assert run.relay.usage.output_tokens == 7


async def test_nothing_is_sent_before_the_first_content():
    run = Run([])
    assert run.relay.feed(b": ping\n\n" + event(ROLE))
    assert run.relay.feed(event(chunk("")))
    assert not run.caller.started and not run.caller.written and not run.relay.committed
    assert run.relay.feed(event(chunk("a")))
    assert run.caller.started and run.relay.committed
    assert run.caller.seen == b": ping\n\n" + event(ROLE) + event(chunk("")) + event(chunk("a"))


@pytest.mark.parametrize(
    "delta",
    [{"reasoning_content": "hm"}, {"refusal": "no"}, {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}],
)
async def test_reasoning_refusals_and_tool_calls_are_content(delta):
    run = Run([])
    run.relay.feed(event({"choices": [{"index": 0, "delta": delta}]}))
    assert run.relay.committed


async def test_what_is_held_back_before_the_content_is_bounded():
    run = Run([])
    for _ in range(200):
        run.relay.feed(b": " + b"x" * 1000 + b"\n\n")
    assert run.relay.committed
    assert len(run.caller.seen) >= 64 * 1024


async def test_an_answer_without_content_is_an_answer():
    run = await Run([event(ROLE), event(chunk(finish="stop")), event("[DONE]")]).go()
    assert run.error is None
    assert run.caller.seen == event(ROLE) + event(chunk(finish="stop"))
    assert run.commits == 1


async def test_done_is_held_back_and_nothing_after_it_passes():
    stream = event(chunk("a")) + event("[DONE]") + event(chunk("late"))
    for pieces in splits(stream):
        run = await Run(pieces).go()
        assert run.caller.seen == event(chunk("a"))
        assert run.error is None


async def test_the_stream_is_over_with_done_whatever_still_comes():
    run = await Run([event(chunk("a")), event("[DONE]"), event(chunk("late"))]).go()
    assert run.answer.taken == 2


async def test_a_proper_end_without_done_is_an_end_when_the_choices_had_ended():
    stream = event(chunk("a")) + event(chunk(finish="length"))
    for pieces in splits(stream):
        run = await Run(pieces).go()
        assert run.error is None
        assert run.caller.seen == stream


async def test_an_end_without_done_and_without_a_reason_is_a_break():
    stream = event(chunk("a")) + event(chunk("b"))
    for pieces in splits(stream):
        run = await Run(pieces).go()
        assert run.error.reason == "upstream_broken"
        assert run.caller.seen == stream
        assert not run.relay.finished


@pytest.mark.parametrize("stream", [b"", event(ROLE), b": ping\n\n", b"data: {"])
async def test_a_stream_that_ends_before_its_content_leaves_the_caller_untouched(stream):
    run = await Run([stream] if stream else []).go()
    assert run.error.reason == "upstream_broken"
    assert not run.caller.started and run.commits == 0


async def test_an_unfinished_event_never_reaches_the_caller():
    whole = event(chunk("a"))
    for cut in range(1, len(whole)):
        run = await Run([whole + whole[:cut]]).go()
        assert run.caller.seen == whole
        assert run.error.reason == "upstream_broken"


@pytest.mark.parametrize("error", [{"error": {"message": "overloaded", "code": 503}}, {"error": "boom", "choices": []}])
async def test_an_error_within_the_stream_ends_it_and_what_came_before_it_arrives(error):
    good, bad = event(chunk("a")) + event(chunk("b")), event(error) + event("[DONE]")
    for cut in range(len(event(chunk("a"))), len(good + bad)):
        stream = good + bad
        run = await Run([stream[:cut], stream[cut:]]).go()
        assert run.error.reason == "upstream_error"
        assert run.caller.seen in ({good} if cut < len(good) + len(event(error)) else {good, b""})
    run = await Run([event(chunk("a")), event(chunk("b")) + bad]).go()
    assert run.caller.seen == good


async def test_an_error_before_the_first_content_leaves_the_caller_untouched():
    for pieces in splits(event(ROLE) + event({"error": {"message": "overloaded"}})):
        run = await Run(pieces).go()
        assert run.error.reason == "upstream_error"
        assert not run.caller.started


async def test_a_null_error_is_none():
    run = await Run([event(chunk("a", error=None)), event(chunk(finish="stop", error=None)), event("[DONE]")]).go()
    assert run.error is None


async def test_an_event_that_is_no_json_ends_the_stream():
    run = await Run([event(ROLE), event("{broken")]).go()
    assert run.error.reason == "upstream_invalid"
    assert not run.caller.started


@pytest.mark.parametrize("torn", ['data: {"choices": [{"delta"\n\n', 'data: {"choi\n\nces": [{"delta": {}}]}\n\n'])
async def test_an_event_that_was_cut_short_ends_the_stream_whenever_it_comes(torn):
    good = event(chunk("a")) + event(chunk("b"))
    for pieces in ([good, torn.encode()], [event(chunk("a")), event(chunk("b")) + torn.encode()]):
        run = await Run(pieces).go()
        assert run.error.reason == "upstream_invalid"
        assert run.caller.seen == good


async def test_what_is_good_in_a_piece_that_fails_below_comes_out_unless_another_backend_can_begin_anew():
    for before, seen in (([event(chunk("a"))], event(chunk("a")) + event(chunk("b"))), ([], b"")):
        broken = UpstreamFailed("gone")
        broken.partial = event(chunk("b"))
        run = await Run(before, error=broken).go()
        assert run.error is broken
        assert run.caller.seen == seen


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [(429, 429, "upstream_rate_limited"), (503, 503, "upstream_error"), (500, 502, "upstream_error")],
)
async def test_an_error_within_the_stream_means_what_its_status_does(code, status, reason):
    run = await Run([event({"error": {"message": "m", "code": code}})]).go()
    assert (run.error.status, run.error.upstream_status, run.error.reason) == (status, code, reason)


async def test_what_breaks_off_below_comes_out():
    broken = UpstreamFailed("gone")
    run = await Run([event(chunk("a"))], error=broken).go()
    assert run.error is broken
    assert run.caller.seen == event(chunk("a"))


async def test_a_caller_without_room_pauses_the_upstream_until_it_has_room():
    run = Run([])
    run.caller.room = False
    run.relay.feed(event(chunk("a")))
    assert run.answer.log == ["pause"]
    run.caller.has_room()
    assert run.answer.log == ["pause", "resume"]
    run.caller.room = True
    run.relay.feed(event(chunk("b")))
    assert run.answer.log == ["pause", "resume"]


async def test_the_sample_tells_how_long_the_whole_is():
    words = [f"word{number:04} " for number in range(1000)]
    pieces = [event(chunk(word)) for word in words]
    run = await Run([event(ROLE), *pieces, event(chunk(finish="stop")), event("[DONE]")]).go()
    text, factor = run.relay.sample()
    assert "".join(words).startswith(text)
    assert len(text) > 500
    assert len(text) * factor == pytest.approx(len("".join(words)), rel=0.05)


async def test_the_sample_is_not_misled_by_words_in_the_content():
    pieces = [event(chunk("data: data: data: ")) for _ in range(1000)]
    run = await Run([*pieces, event(chunk(finish="stop")), event("[DONE]")]).go()
    text, factor = run.relay.sample()
    assert len(text) * factor == pytest.approx(18_000, rel=0.05)


@pytest.mark.parametrize("pieces", [[], [event(ROLE)], [b": ping\n\n"], [event("{broken")]])
async def test_a_stream_without_content_has_an_empty_sample(pieces):
    run = await Run(pieces).go()
    assert run.relay.sample() == ("", 0.0)


async def test_a_short_stream_is_its_own_sample():
    for pieces in splits(event(chunk("a ")) + event(chunk("b")) + event(chunk(finish="stop")) + event("[DONE]")):
        run = await Run(pieces).go()
        assert run.relay.sample() == ("a b", 1.0)
