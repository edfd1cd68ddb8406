"""Answers on their way through a translation: what is passed on, held back, and kept off."""

import json

import pytest

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason
from podium.upstreams.messages import MessagesOverChat
from podium.upstreams.translated import TranslatedAnswer, dropped_notes, refused, translated_answer, wants_stream
from podium.wire.translation import Translated


class Given:
    """An answer whose pieces are known (podium.gateway.ports.Answer)."""

    def __init__(self, pieces=(), *, status=200, headers=None, body=b"", notes=b""):
        self.status, self.headers, self.body, self.notes = status, headers or {}, body, notes
        self.streamed, self.pieces, self.done = bool(pieces), pieces, []

    async def relay(self, on_piece):
        for piece in self.pieces:
            if not on_piece(piece):
                return

    def pause(self):
        self.done.append("pause")

    def resume(self):
        self.done.append("resume")

    def close(self):
        self.done.append("close")


class Upper:
    """A stream translation; `-` is held back until something follows."""

    def __init__(self):
        self.held = b""

    def feed(self, piece):
        said, self.held = (b"", piece) if piece == b"-" else (self.held + piece.upper(), b"")
        return said

    def end(self):
        return self.held


TRANSLATED = Translated(body=b"", dropped=("seed",), answer=bytes.upper, stream=Upper)


async def pieces_of(answer, wanted=9):
    taken = []

    def take(piece):
        taken.append(piece)
        return len(taken) < wanted

    await answer.relay(take)
    return taken


def made(answer, *, streamed=False, translated=TRANSLATED, **more):
    return translated_answer(
        answer, translated, streamed=streamed, refusal=lambda one, notes: refused(one, b"{}", notes=notes), **more
    )


async def test_pieces_that_say_nothing_yet_are_not_handed_on():
    answer = made(Given([b"a", b"-", b"b"]), streamed=True)
    assert (answer.streamed, await pieces_of(answer)) == (True, [b"A", b"-B"])


async def test_what_a_translation_held_back_comes_at_the_end_if_it_is_wanted():
    for wanted, taken in ((9, [b"A", b"-"]), (1, [b"A"])):
        answer = made(Given([b"a", b"-"]), streamed=True, end_of=lambda stream: stream.end)
        assert await pieces_of(answer, wanted) == taken


def test_who_reads_may_pause_and_give_up():
    given = Given([b"a"])
    answer = made(given, streamed=True)
    answer.pause()
    answer.resume()
    answer.close()
    assert given.done == ["pause", "resume", "close"]


def test_a_whole_answer_is_translated_and_says_what_was_left_out():
    answer = made(Given(body=b"a", headers={b"x": b"y"}))
    assert (answer.status, answer.streamed, answer.body, answer.headers) == (200, False, b"A", {b"x": b"y"})
    assert answer.notes == b"x-podium-dropped: seed\r\n"


def test_what_is_not_what_was_asked_for_is_not_translated():
    assert made(Given(body=b"a"), streamed=True).body == b""
    assert made(Given(body=b"a", headers={b"content-encoding": b"gzip"})).body == b""
    moved = made(Given(status=307, body=b"a"))
    assert (moved.status, moved.body) == (307, b"")
    assert made(Given([b"a"])).streamed


def test_an_answer_that_cannot_be_read_is_the_upstreams_fault():
    def unreadable(body):
        raise ValueError("not an answer")

    with pytest.raises(UpstreamFailed) as raised:
        made(Given(), translated=Translated(b"", (), unreadable, Upper))
    assert (raised.value.reason, raised.value.hint) == (Reason.UPSTREAM_INVALID, "The answer is not an answer.")


def test_an_error_is_json_and_keeps_what_its_head_said():
    given = Given(status=429, headers={b"content-type": b"text/html", b"retry-after": b"3", b"content-encoding": b"br"})
    answer = refused(given, b"{}", retry_after_s=1.5)
    assert answer.headers == {b"content-type": b"application/json", b"retry-after": b"3"}
    later = refused(Given(status=424), b"{}", status=502, retry_after_s=1.5)
    assert (later.status, later.headers[b"retry-after"], later.body) == (502, b"2", b"{}")


def test_notes_hold_only_what_can_stand_in_a_header():
    assert dropped_notes(()) == b""
    assert dropped_notes(("b", "a\r\nx: y", "é", "c" * 65)) == b"x-podium-dropped: b, other\r\n"
    assert dropped_notes(("a",), dropped_notes(("c", "b"))) == b"x-podium-dropped: a, b, c\r\n"
    assert dropped_notes((), dropped_notes(("c",))) == b"x-podium-dropped: c\r\n"
    assert dropped_notes(f"n{number}" for number in range(99)).count(b",") == 31


@pytest.mark.parametrize(("body", "wanted"), [(b"{}", False), (b'{"stream":null}', False), (b'{"stream":true}', True)])
def test_a_stream_is_asked_for_in_the_body(body, wanted):
    assert wants_stream(body) is wanted


class Chat:
    """An upstream that gives what it was given (podium.gateway.ports.Upstream)."""

    provider, model, label, total_s, reports_stream_usage = "p", "m", "p/m", 5.0, True
    endpoints = frozenset(("chat.completions",))

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    async def call(self, endpoint, body, *, headers, deadline_s):
        self.calls.append((endpoint, json.loads(body), headers, deadline_s))
        return self.answer


async def test_a_message_ends_well_when_a_server_leaves_out_done():
    """Some servers close the stream after they said why it ended."""
    chunk = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":%b}]}\n\n'
    for reason, ends in ((b'"stop"', True), (b"null", False)):
        chat = Chat(Given([chunk % reason]))
        upstream = MessagesOverChat(chat, unsupported="reject")
        body = b'{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}]}'
        said = b"".join(await pieces_of(await upstream.call("messages", body, headers=b"h", deadline_s=1.0)))
        assert (b"message_stop" in said) is ends and b"hi" in said
        assert chat.calls[0][0] == "chat.completions" and chat.calls[0][2:] == (b"h", 1.0)


async def test_all_other_calls_go_by_untouched():
    chat = Chat(Given(body=b"a"))
    upstream = MessagesOverChat(chat, unsupported="reject")
    assert await upstream.call("chat.completions", b"{}", headers=b"", deadline_s=1.0) is chat.answer
    assert (upstream.label, upstream.endpoints) == ("p/m", {"chat.completions", "messages"})
    assert not isinstance(chat.answer, TranslatedAnswer)


class Fragile(Upper):
    """Fails at a `!`, after what stands before it in the piece."""

    def feed(self, piece):
        good, mark, _ = piece.partition(b"!")
        said = super().feed(good)
        if mark:
            failure = UpstreamFailed("!")
            failure.partial = said
            raise failure
        return said


class Doubled(Upper):
    def feed(self, piece):
        return piece * 2


@pytest.mark.parametrize(("inner", "outer", "partial"), [(Fragile, Doubled, b"BB"), (Doubled, Fragile, b"B")])
async def test_what_was_good_in_a_piece_that_fails_is_translated_once(inner, outer, partial):
    answer = TranslatedAnswer(TranslatedAnswer(Given([b"a", b"b!c"]), stream=inner()), stream=outer())
    with pytest.raises(UpstreamFailed) as failure:
        await pieces_of(answer)
    assert failure.value.partial == partial


async def test_what_a_reader_throws_is_not_translated():
    answer = TranslatedAnswer(TranslatedAnswer(Given([b"a"]), stream=Upper()), stream=Upper())
    failure = UpstreamFailed("x")
    failure.partial = b"mine"

    def refuse(_):
        raise failure

    with pytest.raises(UpstreamFailed):
        await answer.relay(refuse)
    assert failure.partial == b"mine"
