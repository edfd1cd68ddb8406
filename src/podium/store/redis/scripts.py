"""Atomic scripts: each is one file beside this one, named by its content, and runs wherever scripts may run at all.

A script is asked for by digest (EVALSHA); a server that does not know it gets it whole (EVAL), which teaches it; one
that forbids EVALSHA gets it whole each time. SCRIPT is never needed. When EVAL is forbidden too, the store is unusable.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from podium.store.redis.client import RedisClient, forbids
from podium.store.redis.connection import Command
from podium.store.redis.errors import StoreTrouble, StoreUnavailable

__all__ = ["STEPS_AT_ONCE", "MergedScript", "Script", "Scripts", "script"]

STEPS_AT_ONCE = 64  # of a merged script: they take a server less than 2 ms


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua text, and the digest that Redis knows it by."""

    name: str  # `limits_take@1f0c9a2b`: another content is another name
    text: str
    digest: str


@cache
def script(name: str, *families: str) -> Script:
    """The script in `lua/<name>.lua`, after what all share and what its family does: `limits.lua` for `limits_look`.

    `families`: those whose files it needs in place of its own.
    """
    folder = files("podium.store.redis") / "lua"
    names = dict.fromkeys(("shared", *(families or (name.partition("_")[0],)), name))
    parts = [folder / f"{part}.lua" for part in names]
    body = "".join(part.read_text("utf-8") for part in parts if part.is_file())
    full_name = f"{name}@{_digest(body)[:8]}"
    text = f"-- podium {full_name}\n{body}"  # so that the server's slow log says what ran
    return Script(full_name, text, _digest(text))


def _digest(text: str) -> str:
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs scripts on a client."""

    __slots__ = ("_asked_at", "_by_digest", "_client", "_sent_whole")

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._by_digest = True
        self._sent_whole: dict[str, int] = {}  # digests, and how many connections had been made then
        self._asked_at = 0  # how many connections had been made when EVALSHA was found to be forbidden

    async def run(
        self, what: Script, keys: tuple[str, ...], *arguments: str | bytes | int, deadline_s: float | None = None
    ) -> Any:
        """What the script returns. StoreUnavailable; ResponseError when the script itself is wrong.

        `deadline_s`: as in `RedisClient.send`.
        """
        send = self._client.send

        def ask(verb: str, name: str, latest_s: float | None) -> "asyncio.Future[Any]":
            return send(verb, name, len(keys), *keys, *arguments, deadline_s=latest_s)

        return await self._run(what, ask, deadline_s)

    async def run_merged(self, what: "MergedScript", ask: Sequence[Any], *, deadline_s: float | None = None) -> Any:
        """As `run`: the answers of the steps of this ask, which may go out with others."""

        def send(verb: str, _: str, latest_s: float | None) -> "asyncio.Future[Any]":
            return self._client.ask(what.whole if verb == "EVAL" else what.by_digest, ask, deadline_s=latest_s)

        return await self._run(what.script, send, deadline_s)

    def send_merged(self, what: "MergedScript", ask: Sequence[Any]) -> "asyncio.Future[Any]":
        """The answers to come of the steps of this ask. It may fail where `run_merged` tries in another way.

        Sent whole once for every new connection: then each server that there is knows it. Raises StoreUnavailable when
        it is not even worth to wait.
        """
        client, digest = self._client, what.script.digest
        if self._by_digest and self._sent_whole.get(digest) == client.figures.connects:
            return client.ask(what.by_digest, ask)
        answer = client.ask(what.whole, ask)
        self._sent_whole[digest] = client.figures.connects
        return answer

    async def _run(
        self, what: Script, send: "Callable[[str, str, float | None], asyncio.Future[Any]]", deadline_s: float | None
    ) -> Any:
        client = self._client
        latest_s = client.deadline_s() if deadline_s is None else deadline_s
        if self._by_digest or client.figures.connects != self._asked_at:
            try:
                return await send("EVALSHA", what.digest, deadline_s)
            except NoScriptError:
                self._by_digest = True
            except ResponseError as error:
                if not forbids(error):
                    raise
                self._by_digest, self._asked_at = False, client.figures.connects
        client.figures.scripts_sent_whole += 1
        try:
            return await send("EVAL", what.text, latest_s)
        except ResponseError as error:
            if not forbids(error):
                raise
            sentence = f"it forbids what the script {what.name} needs: {error}"
            client.forbid(sentence)
            raise StoreUnavailable(StoreTrouble.UNUSABLE, sentence) from error


class MergedScript:
    """A script that does the steps of many asks.

    `arguments` makes its arguments of all their steps; `answers` reads what it returns: an answer or an error of each.
    """

    __slots__ = ("by_digest", "script", "whole")

    def __init__(
        self,
        what: Script,
        keys: tuple[str, ...],
        arguments: Callable[[list[Any]], Sequence[str | bytes | int]],
        answers: Callable[[Any], list[Any]],
    ) -> None:
        self.script = what
        self.by_digest = _Whose(("EVALSHA", what.digest, len(keys), *keys), arguments, answers)
        self.whole = _Whose(("EVAL", what.text, len(keys), *keys), arguments, answers)


class _Whose:
    """podium.store.redis.merging.Merger."""

    __slots__ = ("_arguments", "_begin", "answers", "most")

    def __init__(
        self,
        begin: Command,
        arguments: Callable[[list[Any]], Sequence[str | bytes | int]],
        answers: Callable[[Any], list[Any]],
    ) -> None:
        self._begin, self._arguments, self.answers = begin, arguments, answers
        self.most = STEPS_AT_ONCE

    def command(self, asks: Sequence[Sequence[Any]]) -> Command:
        """As Merger."""
        return (*self._begin, *self._arguments([step for ask in asks for step in ask]))
