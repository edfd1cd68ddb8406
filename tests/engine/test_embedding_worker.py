"""The real model in a real process."""

import http.client
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import openai
import pytest


@pytest.fixture
def client(embedding_worker):
    with embedding_worker.client() as http:
        yield http


def post(client, **body):
    return client.post("/v1/embeddings", json={"model": "minilm"} | body)


def vectors(client, *texts):
    answer = post(client, input=list(texts))
    assert answer.status_code == 200, answer.text
    return np.array([entry["embedding"] for entry in answer.json()["data"]])


def test_vectors_have_length_one_and_meaning(client):
    cat, kitten, law = vectors(client, "A cat sits on the mat.", "A kitten rests on a rug.", "Bavarian tax law")
    assert [round(float(np.linalg.norm(vector)), 5) for vector in (cat, kitten, law)] == [1, 1, 1]
    assert cat.shape == (384,)
    assert cat @ kitten > 0.6
    assert abs(cat @ law) < 0.2


def test_a_text_has_the_same_vector_alone_and_in_company(client):
    texts = ["one", "two words", "three " * 40, "four " * 300]
    together = vectors(client, *texts)
    alone = np.concatenate([vectors(client, text) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_tokens_are_counted_exactly(client):
    usage = post(client, input=["hello world", "hello"]).json()["usage"]
    assert usage == {"prompt_tokens": 4 + 3, "total_tokens": 7}  # with [CLS] and [SEP] around each text


def test_the_official_client_reads_both_encodings(embedding_worker):
    api_key = embedding_worker.client().headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{embedding_worker.url}/v1", api_key=api_key) as client:
        packed = client.embeddings.create(model="minilm", input="hello").data[0].embedding
        plain = client.embeddings.create(model="minilm", input="hello", encoding_format="float").data[0].embedding
        assert packed == pytest.approx(plain)
        assert [model.id for model in client.models.list()] == ["minilm"]


def test_a_text_of_the_full_length_is_taken_and_a_longer_one_refused(client):
    assert post(client, input="word " * 510).status_code == 200
    answer = post(client, input=["fine", "word " * 511])
    assert answer.status_code == 400
    assert "index 1 has 513" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (("GET", "/v1/embeddings"), 405),
        (("POST", "/v1/models"), 405),
        (("GET", "/v1/nothing"), 404),
        (("POST", "/v1/embeddings"), 400),
    ],
)
def test_wrong_requests_get_openais_error(client, request_, status):
    answer = client.request(*request_)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("key", [None, "", "Bearer wrong", "Bearer"])
def test_a_wrong_key_is_refused_everywhere_but_at_health(embedding_worker, key):
    headers = {} if key is None else {"authorization": key}
    with httpx.Client(base_url=embedding_worker.url, headers=headers, trust_env=False) as stranger:
        assert stranger.get("/v1/models").status_code == 401
        assert stranger.post("/v1/embeddings", json={"input": "a"}).status_code == 401
        assert stranger.get("/health").status_code == 200


def test_a_body_over_the_limit_is_refused_by_its_announced_length(embedding_worker):
    with socket.create_connection(("127.0.0.1", httpx.URL(embedding_worker.url).port), timeout=10) as connection:
        authorization = embedding_worker.client().headers["authorization"]
        head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: 99999999\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_more_than_the_queue_holds_is_refused_with_a_time_to_come_back(embedding_worker):
    def send(number):
        with embedding_worker.client() as client:
            return post(client, input=["some words in a row " * 20] * 60)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, range(4)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused and len(refused) < 4
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 503}


def test_many_clients_at_once_each_get_their_own(embedding_worker):
    texts = [f"text number {number} " * (number % 7 + 1) for number in range(40)]

    def send(text):
        with embedding_worker.client() as client:
            return vectors(client, text)[0]

    with ThreadPoolExecutor(16) as threads:
        together = np.array(list(threads.map(send, texts)))
    with embedding_worker.client() as client:
        assert np.abs(together - vectors(client, *texts)).max() < 1e-5


@contextmanager
def sent(worker, *texts):
    """A request whose bytes are on their way; the answer is not read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", httpx.URL(worker.url).port, timeout=30)
    headers = {"authorization": worker.client().headers["authorization"]}
    connection.request("POST", "/v1/embeddings", json.dumps({"input": texts}), headers)
    yield connection
    connection.close()


def test_sigterm_finishes_what_runs_and_exits_with_zero(start_worker):
    with start_worker("minilm") as worker, sent(worker, *["some words in a row " * 20] * 60) as connection:
        with worker.client() as client:
            assert post(client, input="a").status_code == 200  # it was begun before this one
        assert worker.stop() == 0
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.loads(answer.read())["data"]) == 60


def test_texts_of_a_client_that_went_away_leave_the_queue(embedding_worker):
    with embedding_worker.client() as client:
        with sent(embedding_worker, *["some words in a row " * 100] * 60):
            assert post(client, input="a").status_code == 200  # it was begun before this one
            assert post(client, input=["a"] * 50).status_code == 503
        deadline = time.monotonic() + 5  # all of them take twice as long
        while post(client, input=["a"] * 50).status_code == 503:
            assert time.monotonic() < deadline


def test_a_taken_port_is_one_sentence(embedding_worker, models, tmp_path):
    program = """
import sys
from pathlib import Path
from podium.core.errors import OperatorError
from podium.core.layout import DataFolder
from podium.engine.settings import EngineSettings
from podium.engine.worker import serve_worker
try:
    serve_worker("minilm", port=int(sys.argv[1]), api_key="k", data=DataFolder(Path(".")), settings=EngineSettings(models_dir=sys.argv[2]))
except OperatorError as error:
    print(error.message)
"""
    argv = [sys.executable, "-c", program, str(httpx.URL(embedding_worker.url).port), str(models)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot listen on port" in done.stdout
