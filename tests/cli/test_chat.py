"""`chat` and `models` against a scripted server in the place of the gateway."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from podium.testing.behaviour import BAD, GOOD, Behaviour


def test_one_question_is_answered_as_it_streams(podium, gateway):
    gateway.script(Behaviour(text="Rhine Loire Volga"))
    done = podium("chat", "Three rivers?", "--model", "smollm2", "--system", "Be brief", "--max-tokens", "9")
    assert done.out.strip() == "Rhine Loire Volga"
    assert done.err == ""
    (request,) = gateway.requests
    assert request.json() == {
        "model": "smollm2",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Three rivers?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
    }


def test_json_holds_answer_usage_and_request_id(podium, gateway):
    gateway.script(Behaviour(text="Rhine Loire Volga"))
    done = podium("chat", "Three rivers?", "--json").json
    assert done["answer"].strip() == "Rhine Loire Volga"
    assert done["finish_reason"] == "stop"
    assert done["usage"]["completion_tokens"] >= 3
    assert done["model"] == "default"
    assert set(done) == {"model", "answer", "finish_reason", "usage", "request_id"}


def test_the_question_comes_from_standard_input(podium, gateway):
    podium("chat", "-", stdin="What is this?\n")
    podium("chat", stdin="And this?\n")
    assert [one.json()["messages"][-1]["content"] for one in gateway.requests] == ["What is this?\n", "And this?\n"]
    assert podium("chat", "-", stdin=" \n", code=1).err == "podium: There is no question on standard input.\n"


def test_the_key_is_sent_as_a_bearer_token(podium, gateway, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin.key").write_text("pk_local\n")
    podium("chat", "x")
    podium("chat", "x", "--api-key", "pk_named")
    assert [one.header("authorization") for one in gateway.requests] == ["Bearer pk_local", "Bearer pk_named"]


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"paced", "slow-first-byte", "resets-on-reuse"}))
def test_every_good_stream_is_read_whole(podium, gateway, name):
    gateway.script(GOOD[name])
    assert len(podium("chat", "x").out.split()) == GOOD[name].chunks


ENDLESS = {"silent", "slow-head", "stalls-after-head", "stalls-midway"}  # a person has Ctrl-C
GOOD_ENOUGH = {"gzip"}


@pytest.mark.parametrize("name", sorted(BAD.keys() - ENDLESS - GOOD_ENOUGH))
def test_a_server_that_misbehaves_is_one_sentence_never_a_traceback(podium, gateway, name):
    gateway.script(BAD[name])
    done = podium("chat", "x", code=1)
    assert [line.split(":")[0] for line in done.err.splitlines()] in (["podium"], ["podium", "hint"])


def test_a_typed_error_event_in_the_stream_is_told(podium, serve, monkeypatch):
    first = json.dumps({"choices": [{"index": 0, "delta": {"content": "Hal"}}]})
    error = json.dumps({"error": {"message": "The worker was killed.", "code": "upstream_broken"}})
    body = f"data: {first}\n\ndata: {error}\n\n".encode()
    with serve(lambda *_: (200, {"content-type": "text/event-stream"}, body)) as url:
        done = podium("chat", "x", "--url", url, code=1)
    assert done.out == "Hal\n"
    assert done.err == "podium: The worker was killed.\n"


def test_an_answer_cannot_steer_the_terminal(podium, serve):
    delta = json.dumps({"choices": [{"index": 0, "delta": {"content": "a\u001b[2Jb\nc"}}]})
    body = f"data: {delta}\n\ndata: [DONE]\n\n".encode()
    with serve(lambda *_: (200, {}, body)) as url:
        assert podium("chat", "x", "--url", url).out == "a\\x1b[2Jb\nc\n"


def test_json_needs_a_question(podium, gateway, monkeypatch):
    monkeypatch.setattr("podium.cli.chat._question", lambda _: None)
    assert podium("chat", "--json", code=1).err.startswith("podium: --json needs a question.\n")


def test_without_a_gateway_it_is_one_sentence(podium):
    done = podium("chat", "x", "--url", "http://127.0.0.1:1", code=1)
    assert done.err == (
        "podium: The gateway does not answer at http://127.0.0.1:1.\n"
        "hint: Start it with `podium up`, or name its address with --url.\n"
    )


# A shell may have started the tests with SIGINT ignored, as it does in the background; a terminal's programs hear it.
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from podium.cli import main
main()
"""


class Terminal:
    """`podium chat` in a terminal of its own."""

    def __init__(self, url, folder, *arguments):
        self._master, slave = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "chat", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=environment | {"PODIUM_URL": url},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text):
        os.write(self._master, text.encode())

    def read_until(self, text, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self.seen += os.read(self._master, 4096).decode()
        before, _, self.seen = self.seen.partition(text)
        return before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._master)


@pytest.fixture
def terminal(gateway, tmp_path):
    opened = []

    def start(*arguments):
        opened.append(Terminal(gateway.url, tmp_path, *arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_conversation_remembers_and_ends_with_ctrl_d(terminal, gateway):
    gateway.script(Behaviour(text="Hello Bob"), Behaviour(text="You are Bob"))
    chat = terminal()
    chat.read_until("> ")
    chat.type("I am Bob\n")
    chat.read_until("Hello Bob")
    chat.read_until("> ")
    chat.type("Who am I?\n")
    chat.read_until("You are Bob")
    chat.read_until("> ")
    chat.type("\x04")
    assert chat.process.wait(20) == 0
    turns = [(one["role"], one["content"].strip()) for one in gateway.requests[-1].json()["messages"]]
    assert turns == [("user", "I am Bob"), ("assistant", "Hello Bob"), ("user", "Who am I?")]


def test_ctrl_c_cancels_the_answer_and_the_conversation_goes_on(terminal, gateway):
    gateway.script(Behaviour(text="Once " * 2000, between_chunks_s=0.05), Behaviour(text="Fine"))
    chat = terminal()
    chat.read_until("> ")
    chat.type("Tell me a tale\n")
    chat.read_until("Once Once")
    chat.process.send_signal(signal.SIGINT)
    chat.read_until("(cancelled)")
    chat.read_until("> ")
    chat.type("How are you?\n")
    chat.read_until("Fine")
    assert [one["content"] for one in gateway.requests[-1].json()["messages"]] == ["How are you?"]


def test_ctrl_c_on_one_question_exits_with_130(terminal, gateway):
    gateway.script(Behaviour(text="Once " * 2000, between_chunks_s=0.05))
    chat = terminal("Tell me a tale")
    chat.read_until("Once Once")
    chat.process.send_signal(signal.SIGINT)
    chat.read_until("podium: the answer was cancelled")
    assert chat.process.wait(20) == 130
