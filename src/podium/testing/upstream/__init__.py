"""Servers that stand in for model providers.

`ScriptedUpstream` answers as OpenAI does, in any HTTP form, sound or not. `Simulator` speaks the protocols of all
providers, checks what it is asked, and fails on command: `MODES` is the table of its behaviours, `matrix` the cases
of a test that goes through them.
"""

from podium.testing.scripted_upstream import RecordedRequest, ScriptedUpstream
from podium.testing.upstream.behaviours import Behaviour, Expected
from podium.testing.upstream.modes import MODES, Case, Mode, matrix
from podium.testing.upstream.protocols import UpstreamProtocol
from podium.testing.upstream.simulator import Simulator

__all__ = [
    "MODES",
    "Behaviour",
    "Case",
    "Expected",
    "Mode",
    "RecordedRequest",
    "ScriptedUpstream",
    "Simulator",
    "UpstreamProtocol",
    "matrix",
]
