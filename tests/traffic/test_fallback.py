import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.reasons import Reason
from podium.traffic.fallback import FallbackCause, FallbackReason, FallbackRule, FallbackStep, cause_of, next_model

DOWN, LIMITED, LONG, REFUSED, TIMEOUT = (
    FallbackCause.DOWN,
    FallbackCause.RATE_LIMITED,
    FallbackCause.CONTEXT_TOO_LONG,
    FallbackCause.CONTENT_REFUSED,
    FallbackCause.TIMEOUT,
)


def on(model, *causes):
    return FallbackRule(model, frozenset(causes))


CHAIN = {"large": (on("small", DOWN, TIMEOUT), on("long", LONG), FallbackRule("other"))}


@pytest.mark.parametrize(
    ("cause", "visited", "model", "why"),
    [
        (DOWN, ["large"], "small", FallbackReason.RULE),
        (LONG, ["large"], "long", FallbackReason.RULE),
        (REFUSED, ["large"], "other", FallbackReason.RULE),
        (DOWN, ["large", "small"], "other", FallbackReason.RULE),
        (LONG, ["large", "small"], "long", FallbackReason.RULE),
        (DOWN, ["large", "small", "other"], None, FallbackReason.ALL_TRIED),
        (DOWN, ["small"], None, FallbackReason.NO_RULE),
    ],
)
def test_a_chain_is_followed_by_cause(cause, visited, model, why):
    assert next_model(CHAIN, cause, visited) == FallbackStep(model, why)


def test_the_rules_of_the_model_that_failed_come_first():
    graph = {"a": (on("b", DOWN), on("c", DOWN)), "b": (on("d", DOWN),)}
    assert next_model(graph, DOWN, ["a", "b"]).model == "d"
    assert next_model(graph, DOWN, ["a", "b", "d"]).model == "c"


def test_a_rule_for_another_cause_does_not_count():
    assert next_model({"a": (on("b", DOWN),)}, LIMITED, ["a"]) == FallbackStep(None, FallbackReason.NO_RULE)


def test_a_ring_ends():
    ring = {"a": (FallbackRule("b"),), "b": (FallbackRule("a"),)}
    assert next_model(ring, DOWN, ["a"]).model == "b"
    assert next_model(ring, DOWN, ["a", "b"]) == FallbackStep(None, FallbackReason.ALL_TRIED)
    assert next_model({"a": (FallbackRule("a"),)}, DOWN, ["a"]).model is None


def test_the_depth_is_bounded():
    line = {str(number): (FallbackRule(str(number + 1)),) for number in range(20)}
    assert next_model(line, DOWN, ["0", "1"], max_depth=2).model == "2"
    assert next_model(line, DOWN, ["0", "1", "2"], max_depth=2) == FallbackStep(None, FallbackReason.DEPTH_REACHED)
    assert next_model(line, DOWN, ["0"], max_depth=0) == FallbackStep(None, FallbackReason.DEPTH_REACHED)


models = st.sampled_from("abcdef")
graphs = st.dictionaries(
    models, st.lists(st.builds(FallbackRule, models, st.frozensets(st.sampled_from(FallbackCause))))
)


@given(graphs, models, st.lists(st.sampled_from(FallbackCause), min_size=30, max_size=30), st.integers(0, 8))
def test_any_graph_ends_without_trying_a_model_twice(graph, first, causes, max_depth):
    visited = [first]
    for cause in causes:
        step = next_model(graph, cause, visited, max_depth=max_depth)
        assert (step.model is None) == (step.why is not FallbackReason.RULE)
        if step.model is None:
            break
        assert any(step.model == rule.model and cause in rule.on for tried in visited for rule in graph.get(tried, ()))
        visited.append(step.model)
    assert len(set(visited)) == len(visited) <= max_depth + 1
    assert step.model is None


@pytest.mark.parametrize(
    ("reason", "status", "cause"),
    [
        (Reason.UPSTREAM_UNREACHABLE, None, DOWN),
        (Reason.UPSTREAM_BROKEN, None, DOWN),
        (Reason.UPSTREAM_INVALID, 200, DOWN),
        (Reason.NO_BACKEND, None, DOWN),
        (Reason.OVERLOADED, None, LIMITED),
        (Reason.CANNOT_START_IN_TIME, None, LIMITED),
        (Reason.TENANT_QUEUE_FULL, None, None),
        (Reason.UPSTREAM_ERROR, None, DOWN),
        (Reason.UPSTREAM_ERROR, 500, DOWN),
        (Reason.UPSTREAM_ERROR, 503, DOWN),
        (Reason.UPSTREAM_ERROR, 529, DOWN),
        (Reason.UPSTREAM_ERROR, 401, DOWN),
        (Reason.UPSTREAM_ERROR, 504, TIMEOUT),
        (Reason.UPSTREAM_TIMEOUT, None, TIMEOUT),
        (Reason.UPSTREAM_RATE_LIMITED, 429, LIMITED),
        (Reason.UPSTREAM_REJECTED, 402, LIMITED),
        (Reason.UPSTREAM_REJECTED, 404, DOWN),
        (Reason.UPSTREAM_REJECTED, 408, TIMEOUT),
        (Reason.UPSTREAM_REJECTED, 413, LONG),
        (Reason.UPSTREAM_REJECTED, 400, None),
        (Reason.UPSTREAM_REJECTED, 422, None),
        (Reason.REQUESTS_LIMITED, 429, None),
        (Reason.INVALID_REQUEST, 400, None),
        (Reason.CLIENT_GONE, None, None),
        (Reason.INTERNAL_ERROR, 500, None),
    ],
)
def test_the_reason_tells_the_cause(reason, status, cause):
    assert cause_of(reason, status) is cause


@pytest.mark.parametrize(
    ("status", "code", "message", "cause"),
    [
        (400, "context_length_exceeded", "", LONG),
        (400, "exceed_context_size_error", "", LONG),
        (413, "request_too_large", "Request exceeds the maximum size", LONG),
        (413, "rate_limit_exceeded", "Request too large for model `x` on tokens per minute (TPM)", LIMITED),
        (400, "content_filter", "", REFUSED),
        (400, "content_policy_violation", "", REFUSED),
        (400, "ResponsibleAIPolicyViolation", "", REFUSED),
        (404, "DeploymentNotFound", "", DOWN),
        (
            400,
            "400",
            (
                "This model's maximum context length is 131072 tokens. However, you requested 156632 tokens"
                " (152536 in the messages, 4096 in the completion). Please reduce the length of the messages or completion."
            ),
            LONG,
        ),
        (
            400,
            "BadRequestError",
            (
                "You passed 4097 input tokens and requested 4096 output tokens."
                " However, the model's context length is only 8192 tokens."
            ),
            LONG,
        ),
        (400, "invalid_request_error", "prompt is too long: 220256 tokens > 200000 maximum", LONG),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            LONG,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
            LONG,
        ),
        (
            400,
            "",
            "The input (250000 tokens) is longer than the model's context length (200000 tokens).",
            LONG,
        ),
        (400, "ValidationException", "Input is too long for requested model.", LONG),
        (
            400,
            "",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
            LONG,
        ),
        (
            400,
            "",
            "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            LONG,
        ),
        (500, "", "the request exceeds the available context size, try increasing it", LONG),
        (422, "validation", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096", LONG),
        (
            400,
            "",
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            REFUSED,
        ),
        (400, "", "Your request was rejected as a result of our safety system.", REFUSED),
        (
            400,
            "invalid_prompt",
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            REFUSED,
        ),
        (400, "invalid_request_error", "Output blocked by content filtering policy", REFUSED),
        (400, "invalid_request_error", "Content Exists Risk", REFUSED),
        (403, "", "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO", REFUSED),
        (400, "invalid_request_error", "Invalid 'temperature': expected a value <= 2.", None),
        (400, "invalid_request_error", "messages: at least one message is required", None),
        (400, "", "x" * 2_000 + "maximum context length", None),
    ],
)
def test_the_words_of_the_upstream_tell_more(status, code, message, cause):
    reason = Reason.UPSTREAM_ERROR if status in (403, 500) else Reason.UPSTREAM_REJECTED
    assert cause_of(reason, status, code=code, message=message) is cause


def test_words_count_only_where_the_upstream_may_have_meant_them():
    message = "maximum context length"
    assert cause_of(Reason.UPSTREAM_RATE_LIMITED, 429, message=message) is LIMITED
    assert cause_of(Reason.CLIENT_GONE, message=message) is None


@given(st.sampled_from(Reason), st.none() | st.integers(0, 999), st.text(max_size=40), st.text(max_size=200))
def test_whatever_an_upstream_says_there_is_an_answer(reason, status, code, message):
    assert cause_of(reason, status, code=code, message=message) in {None, *FallbackCause}
