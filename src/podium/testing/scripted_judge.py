"""A judge of answers that prefers what a test says: an OpenAI-compatible server.

In a test::

    async with ScriptedJudge(lambda answer: "Paris" in answer) as judge:
        ...  # answers with that word win, in whatever order they are shown
        judge.words = "I like both"  # from now on it says this, whatever it is asked
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace

from podium.testing.behaviour import Behaviour
from podium.testing.scripted_upstream import ScriptedUpstream
from podium.testing.upstream_connection import RecordedRequest

__all__ = ["ScriptedJudge"]

_ANSWERS = re.compile(r"<<< (\w+) ANSWER A\n(.*?)\n>>> \1\n.*?<<< \1 ANSWER B\n(.*?)\n>>> \1", re.DOTALL)


class ScriptedJudge(ScriptedUpstream):
    """Use as an async context manager: it listens while the block runs. `likes`: what it finds good in an answer."""

    def __init__(self, likes: Callable[[str], bool]) -> None:
        super().__init__()
        self.likes = likes
        self.words: str | None = None  # what it says instead of a verdict
        self.knows_formats = True  # False: a request with a response format gets 400

    def take(self, request: RecordedRequest) -> Behaviour:
        """Keep a request and say how to answer it; for the connections."""
        scripted = super().take(request)
        if scripted != Behaviour():
            return scripted
        asked = request.json()
        if "response_format" in asked and not self.knows_formats:
            return Behaviour(status=400)
        words = self.words
        return replace(scripted, text=self._verdict(asked["messages"][-1]["content"]) if words is None else words)

    def _verdict(self, question: str) -> str:
        found = _ANSWERS.search(question)
        assert found is not None, "that is no question for a judge"
        first, second = self.likes(found[2]), self.likes(found[3])
        better = "TIE" if first == second else "A" if first else "B"
        return json.dumps({"why": "It is what I like.", "better": better})
