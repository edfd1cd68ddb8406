"""Atomic scripts: each is one file beside this one, named by its content, and runs wherever scripts may run at all.

A script is asked for by digest (EVALSHA); a server that does not know it gets it whole (EVAL), which teaches it; one
that forbids EVALSHA gets it whole each time. SCRIPT is never needed. When EVAL is forbidden too, the store is unusable.
"""

import asyncio
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from podium.store.redis.client import RedisClient, forbids
from podium.store.redis.errors import StoreTrouble, StoreUnavailable

__all__ = ["Script", "Scripts", "script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua text, and the digest that Redis knows it by."""

    name: str  # `limits_take@1f0c9a2b`: another content is another name
    text: str
    digest: str


@cache
def script(name: str) -> Script:
    """The script in `lua/<name>.lua`, after what all share and what its family does: `limits.lua` for `limits_take`."""
    folder = files("podium.store.redis") / "lua"
    parts = [folder / f"{part}.lua" for part in ("shared", name.partition("_")[0], name)]
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

    def send(self, what: Script, keys: tuple[str, ...], *arguments: str | bytes | int) -> "asyncio.Future[Any]":
        """What the script will have returned. It may fail where `run` tries in another way.

        Sent whole once for every new connection: then each server that there is knows it. Raises StoreUnavailable when
        it is not even worth to wait.
        """
        client = self._client
        if self._by_digest and self._sent_whole.get(what.digest) == client.figures.connects:
            return client.send("EVALSHA", what.digest, len(keys), *keys, *arguments)
        answer = client.send("EVAL", what.text, len(keys), *keys, *arguments)
        self._sent_whole[what.digest] = client.figures.connects
        return answer

    async def run(
        self, what: Script, keys: tuple[str, ...], *arguments: str | bytes | int, deadline_s: float | None = None
    ) -> Any:
        """What the script returns. StoreUnavailable; ResponseError when the script itself is wrong.

        `deadline_s`: as in `RedisClient.send`.
        """
        client = self._client
        latest_s = client.deadline_s() if deadline_s is None else deadline_s
        if self._by_digest or client.figures.connects != self._asked_at:
            try:
                return await client.send("EVALSHA", what.digest, len(keys), *keys, *arguments, deadline_s=deadline_s)
            except NoScriptError:
                self._by_digest = True
            except ResponseError as error:
                if not forbids(error):
                    raise
                self._by_digest, self._asked_at = False, client.figures.connects
        client.figures.scripts_sent_whole += 1
        try:
            return await client.send("EVAL", what.text, len(keys), *keys, *arguments, deadline_s=latest_s)
        except ResponseError as error:
            if not forbids(error):
                raise
            sentence = f"it forbids what the script {what.name} needs: {error}"
            client.forbid(sentence)
            raise StoreUnavailable(StoreTrouble.UNUSABLE, sentence) from error
