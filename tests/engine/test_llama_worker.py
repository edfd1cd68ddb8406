"""The real model in a real process, asked in plain OpenAI HTTP."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest


@pytest.fixture
def client(chat_worker):
    with chat_worker.client() as http_client:
        yield http_client


def chat(client, content="Say hi.", **parameters):
    body = {"model": "smollm2", "messages": [{"role": "user", "content": content}], "max_tokens": 8} | parameters
    return client.post("/v1/chat/completions", json=body)


def test_a_chat_is_answered_with_usage(client):
    answer = chat(client, temperature=0).json()
    assert answer["model"] == "smollm2"
    assert answer["choices"][0]["message"]["content"]
    usage = answer["usage"]
    assert usage["completion_tokens"] == 8 and usage["total_tokens"] == usage["prompt_tokens"] + 8


def test_the_official_client_streams_with_usage(chat_worker):
    api_key = chat_worker.client().headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{chat_worker.url}/v1", api_key=api_key) as client:
        chunks = list(
            client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": "Say hi."}],
                max_tokens=8,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text and chunks[-1].usage.completion_tokens == 8


def test_a_schema_is_kept_at_any_temperature(client):
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer"}},
        "required": ["size", "count"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    for seed in range(5):
        message = chat(client, response_format=form, max_tokens=100, temperature=1, seed=seed).json()["choices"][0]
        if message["finish_reason"] == "stop":
            thing = json.loads(message["message"]["content"])
            assert set(thing) == {"size", "count"} and thing["size"] in {"small", "large"}
            break
    else:
        pytest.fail("no answer came to its end")


def test_logprobs_are_given(client):
    content = chat(client, logprobs=True, top_logprobs=3, temperature=0).json()["choices"][0]["logprobs"]["content"]
    assert len(content) == 8
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 3 for entry in content)


def test_the_same_seed_gives_the_same_answer(client):
    first, second = (chat(client, temperature=1, seed=7, max_tokens=16).json() for _ in range(2))
    assert first["choices"] == second["choices"]


def test_a_stop_word_ends_the_answer(client):
    body = {"model": "smollm2", "prompt": "1, 2, 3, 4,", "max_tokens": 30, "stop": [" 7"], "temperature": 0}
    choice = client.post("/v1/completions", json=body).json()["choices"][0]
    assert choice["finish_reason"] == "stop" and "7" not in choice["text"]


def test_a_repeated_prompt_is_taken_from_the_cache(client):
    content = "Tell me about the sea. " * 10
    chat(client, content, max_tokens=1)
    usage = chat(client, content, max_tokens=1).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0.8 * usage["prompt_tokens"]


def test_more_chats_than_slots_are_all_answered(chat_worker):
    def ask(number):
        with chat_worker.client() as client:
            return chat(client, f"Tell a story about the number {number}.").status_code

    with ThreadPoolExecutor(12) as threads:
        assert set(threads.map(ask, range(12))) == {200}


def test_a_prompt_that_is_longer_than_a_slot_is_refused(client):
    answer = chat(client, "word " * 1200)  # a slot of the fixture's worker holds 1024 tokens
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"


def test_the_key_is_asked_for_everywhere_but_at_health(chat_worker):
    with httpx.Client(base_url=chat_worker.url, trust_env=False) as stranger:
        assert chat(stranger).status_code == 401
        for path in ("/v1/models", "/slots", "/metrics", "/props"):
            assert stranger.get(path).status_code == 401
        assert stranger.get("/health").status_code == 200


def wait_for_busy_slots(client, count):
    """The rest of a slot's context would take far longer."""
    began = time.monotonic()
    while sum(slot["is_processing"] for slot in client.get("/slots").json()) != count:
        assert time.monotonic() - began < 5
        time.sleep(0.01)


def test_a_stream_that_nobody_reads_any_more_is_ended(client):
    wait_for_busy_slots(client, 0)
    with client.stream(
        "POST",
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "Tell a story."}], "stream": True, "ignore_eos": True},
    ) as answer:
        next(answer.iter_lines())
        wait_for_busy_slots(client, 1)
    wait_for_busy_slots(client, 0)


def test_sigterm_finishes_what_runs_and_exits_with_zero(start_worker):
    with start_worker("smollm2") as worker, worker.client() as client:
        connection = http.client.HTTPConnection("127.0.0.1", httpx.URL(worker.url).port, timeout=60)
        body = {"messages": [{"role": "user", "content": "Tell a story."}], "max_tokens": 60, "ignore_eos": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), dict(client.headers))
        wait_for_busy_slots(client, 1)
        assert worker.stop() == 0
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["usage"]["completion_tokens"] == 60
        connection.close()
        assert worker.log.read_text() == ""  # quiet


def test_many_signals_at_once_end_it_as_one_does(start_worker):
    with start_worker("smollm2") as worker:
        for _ in range(300):
            worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0


def test_a_taken_port_is_one_sentence(models):
    program = """
import sys
from pathlib import Path
from podium.core.errors import OperatorError
from podium.core.layout import DataFolder
from podium.engine.settings import EngineSettings
from podium.engine.worker import serve_worker
settings = EngineSettings(models_dir=sys.argv[2])
try:
    serve_worker("smollm2", port=int(sys.argv[1]), api_key="k", data=DataFolder(Path(".")), settings=settings)
except OperatorError as error:
    print(error.message)
"""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        argv = [sys.executable, "-c", program, str(taken.getsockname()[1]), str(models)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "could not serve smollm2" in done.stdout
