import pytest

from podium.control.documents import parse_documents
from podium.control.validation import check_change

HOUSE = """
kind: Provider
name: near
spec: {protocol: openai, base_url: "http://127.0.0.1:9/v1", region: eu}
---
kind: Provider
name: far
spec: {protocol: openai, base_url: "http://127.0.0.1:9/v1", region: us}
---
kind: Version
name: v1
spec: {backends: [{provider: near, model: m}]}
---
kind: Version
name: v2
spec: {backends: [{provider: near, model: m2}]}
---
kind: Version
name: j1
spec: {backends: [{provider: near, model: j}, {provider: JUDGE, model: j}]}
---
kind: Model
name: chat
spec: {version: v1, balancing: {residency: [eu]}}
---
kind: Model
name: judge
spec: {version: j1, endpoints: [ENDPOINT]}
---
kind: Rollout
name: r
spec: {model: chat, candidate: v2, analysis: {judge_model: judge}}
"""


@pytest.mark.parametrize(
    ("judge", "endpoint", "problem"),
    [
        ("near", "chat.completions", None),
        ("near", "embeddings", "a judge is asked by chat.completions, which the Model `judge` does not serve"),
        ("far", "chat.completions", "answers of `chat` stay in eu; the judge `judge` also runs in 'us'"),
    ],
)
def test_a_judge_can_be_asked_and_may_see_the_answers(judge, endpoint, problem):
    text = HOUSE.replace("JUDGE", judge).replace("ENDPOINT", endpoint)
    state = {(one.kind, one.name): one for one in parse_documents(text)}
    wanted = [] if problem is None else [f"Rollout/r: spec.analysis.judge_model: {problem}"]
    assert [str(one) for one in check_change({}, state)] == wanted
    assert check_change(state, state) == ()
