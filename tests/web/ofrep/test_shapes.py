import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import InvalidRequest
from podium.core.flags import Flag
from podium.delivery.flags.flagset import FlagSet
from podium.web.ofrep.shapes import failure_answer, one_answer, read_context, status_of

FLAGS = FlagSet(
    {
        "dealt": msgspec.convert(
            {
                "type": "json",
                "variants": {"off": {"a": [1, None]}, "on": []},
                "rules": [
                    {"when": [{"attribute": "a", "at_least": 1}, {"attribute": "b", "matches": ["*x*"]}], "variant": "on"},
                    {"split": {"on": 50, "off": 50}, "by": "a"},
                ],
            },
            Flag,
        )
    }
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=30), JSON.map(json.dumps), JSON.map(lambda one: json.dumps({"context": one}))))
def test_every_body_is_answered_in_the_protocols_words(body):
    try:
        context = read_context(body if isinstance(body, bytes) else body.encode())
    except InvalidRequest as error:
        answer = json.loads(failure_answer("dealt", error))
        assert (answer["key"], set(answer)) == ("dealt", {"key", "errorCode", "errorDetails"})
        assert answer["errorCode"] in {"PARSE_ERROR", "INVALID_CONTEXT"}
        return
    found = FLAGS.evaluate("dealt", context)
    answer = json.loads(one_answer("dealt", found))
    assert ("value" in answer) == (status_of(found) == 200)
    assert ("errorCode" in answer) == (status_of(found) == 400)
