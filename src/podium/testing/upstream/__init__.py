"""Servers that stand in for model providers.

`ScriptedUpstream` answers as OpenAI does, in any HTTP form, sound or not. `Simulator` speaks the protocols of all
providers, checks what it is asked, and fails on command.
"""

from podium.testing.scripted_upstream import RecordedRequest, ScriptedUpstream

__all__ = ["RecordedRequest", "ScriptedUpstream"]
