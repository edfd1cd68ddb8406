import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import OperatorError
from podium.economics import estimate
from podium.economics.estimate import TokenCounter, estimate_input_tokens


@pytest.fixture(scope="module")
def counter():
    counter = TokenCounter()
    counter.load()
    return counter


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_a_body_has_a_token_in_four_bytes(size, tokens):
    assert estimate_input_tokens(size) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("大模型网关统计令牌数量。", 9),
        ("Привет, как дела?", 6),
        ("नमस्ते दुनिया", 5),
        ("def f(x):\n    return x ** 2\n", 11),
        ("👩‍👩‍👧‍👦 12345678 ½", 17),
        ("<|endoftext|>", 7),
    ],
)
def test_short_texts_are_counted_exactly(counter, text, tokens):
    """Golden: counted by another implementation of o200k."""
    assert counter.count(text) == tokens


def test_a_long_text_is_counted_by_samples(counter):
    even = "The quick brown fox jumps over the lazy dog. " * 2_000
    assert counter.count(even) == pytest.approx(20_000, rel=0.03)
    uneven = "The quick brown fox. " * 500 + "大模型网关统计令牌数量。" * 875
    exact = len(counter._encoding.encode_ordinary(uneven))
    assert counter.count(uneven) == pytest.approx(exact, rel=0.05)


def test_the_tokenizer_never_sees_more_than_the_sample(counter):
    seen = []

    class Spy:
        def encode_ordinary(self, text):
            seen.append(len(text))
            return [0]

    spied = TokenCounter()
    spied._encoding = Spy()
    for length in (2_048, 2_049, 5_000, 1_000_000):
        seen.clear()
        spied.count("a" * length)
        assert sum(seen) == 2_048


def test_before_it_is_loaded_it_guesses_from_the_size():
    counter = TokenCounter()
    assert not counter.loaded
    assert counter.count("x" * 400) == 100
    assert counter.count("") == 0
    assert counter.count("\ud800") == 1


@given(st.text(st.characters(), max_size=300))
def test_any_text_can_be_counted(counter, text):
    tokens = counter.count(text)
    assert (tokens == 0) is (text == "")
    assert tokens <= len(text.encode(errors="surrogatepass"))


def test_loading_again_and_at_once_changes_nothing(counter):
    before = counter._encoding
    threads = [threading.Thread(target=counter.load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter._encoding is before


def test_damaged_ranks_are_refused(monkeypatch):
    monkeypatch.setattr(estimate, "_RANKS_SHA256", "0" * 64)
    counter = TokenCounter()
    with pytest.raises(OperatorError, match="damaged"):
        counter.load()
    assert not counter.loaded
