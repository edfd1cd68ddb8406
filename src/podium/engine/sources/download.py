"""Files over HTTP: bounded, resumed where they broke off, and from no host but those that are allowed."""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urljoin, urlsplit

from podium.core.errors import OperatorError
from podium.engine.sources.reference import is_this_machine

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "Downloads", "Refused", "git_blob_sha1"]

T = TypeVar("T")

_BLOCK = 1 << 20
_MAX_REDIRECTS = 5
_MAX_ATTEMPTS = 5
_CONNECT_S, _SILENCE_S = 15.0, 60.0
_OK, _PARTIAL, _NOT_SATISFIABLE, _FIRST_ERROR = 200, 206, 416, 400
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came before the bytes: the headers of the first answer, before any redirect. Names in lower case."""

    headers: dict[str, str]


class Refused(OperatorError):
    """An answer that is an error. `status` is HTTP's."""

    def __init__(self, url: str, status: int, headers: dict[str, str]) -> None:
        said = headers.get("x-error-message", "")[:300]
        super().__init__(f"{_shown(url)} answered with status {status}{': ' + said if said else ''}.")
        self.status = status
        self.code = headers.get("x-error-code", "")


class Downloads:
    """Fetches with one connection pool. A context manager. Blocks."""

    def __init__(
        self,
        *,
        max_bytes: int,
        timeout_s: float,
        hosts: tuple[str, ...] = (),
        token: str = "",
        token_host: str = "",
        pause_s: float = 0.25,
    ) -> None:
        """`hosts`: patterns of hosts that a redirect may lead to, beside its own.

        `token` goes to `token_host` (scheme and host) only; `pause_s` is the base of the waits between attempts.
        """
        import httpx  # noqa: PLC0415 - takes time, and few commands need it

        self._hosts = hosts
        self._max_bytes = max_bytes
        self._deadline = time.monotonic() + timeout_s
        self._token, self._token_host = token, token_host
        self._pause_s = pause_s
        timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
        self._client = httpx.Client(timeout=timeout, follow_redirects=False, headers={"accept-encoding": "identity"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def text(self, url: str, *, max_bytes: int) -> bytes:
        """A small answer as a whole."""

        def attempt() -> bytes:
            with self._open(url, {}) as (_, response):
                data = bytearray()
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > max_bytes:
                        raise OperatorError(f"{_shown(url)} answers with more than {max_bytes} bytes.")
                return bytes(data)

        return self._again_and_again(url, attempt, lambda: 0)

    def file(self, url: str, target: Path, *, size: int | None, progress: Callable[[float], None]) -> Answer:
        """Fetch into `target`. What lies there already is taken as its beginning. `size`: what it must have; None: any.

        A transfer that breaks off is resumed a few times. `OperatorError` when it cannot be had, or is too large.
        """
        return self._again_and_again(url, lambda: self._attempt(url, target, size, progress), lambda: _size_of(target))

    def _again_and_again(self, url: str, attempt: Callable[[], T], done: Callable[[], int]) -> T:
        failures = 0
        while True:
            before = done()
            try:
                return attempt()
            except _BrokeOff as broke:
                failures = 1 if done() > before else failures + 1  # what makes progress may go on
                if failures >= _MAX_ATTEMPTS or time.monotonic() > self._deadline:
                    hint = "Run the command again: it goes on where it stopped."
                    raise OperatorError(f"{_shown(url)} could not be fetched: {broke}", hint=hint) from None
                time.sleep(min(self._pause_s * 2**failures, 5.0))

    def _attempt(self, url: str, target: Path, size: int | None, progress: Callable[[float], None]) -> Answer:
        have = _size_of(target)
        if size is not None and have > size:
            target.unlink()
            have = 0
        etag_file = target.with_name(target.name + ".etag")
        etag = etag_file.read_text() if have and etag_file.exists() else ""
        if have and not etag and size is None:
            have = 0  # nothing tells whether the rest would belong to it
        headers = {"range": f"bytes={have}-"} if have and have != size else {}
        if headers and etag:
            headers["if-range"] = etag
        with self._open(url, headers) as (first, response):
            if have and have == size:
                return first
            if response.status_code != _PARTIAL or not _begins_at(response, have):
                have = 0
            tag = response.headers.get("etag", "")
            if not tag.startswith("W/"):
                etag_file.write_text(tag)
            promised = have + int(response.headers.get("content-length") or 0)
            self._check_size(url, promised, size)
            self._write(url, response, target, have, size, promised, progress)
        etag_file.unlink(missing_ok=True)
        return first

    def _write(
        self, url: str, response: "httpx.Response", target: Path, have: int, size: int | None, promised: int,
        progress: Callable[[float], None],
    ) -> None:  # fmt: skip
        import httpx  # noqa: PLC0415

        expected = size or promised
        try:
            with target.open("r+b" if have else "wb") as sink:
                sink.seek(have)
                sink.truncate()
                for piece in response.iter_raw():
                    sink.write(piece)
                    have += len(piece)
                    self._check_size(url, have, size)
                    progress(min(1.0, have / expected) if expected else 0.0)
                    if time.monotonic() > self._deadline:
                        raise _BrokeOff("it took too long.")
        except httpx.TransportError as error:
            raise _BrokeOff(f"the connection broke: {error}") from None
        if have < (promised if size is None else size):
            raise _BrokeOff(f"it ended after {have} bytes.")

    def _check_size(self, url: str, bytes_: int, size: int | None) -> None:
        if bytes_ > self._max_bytes:
            raise OperatorError(
                f"{_shown(url)} is larger than {self._max_bytes} bytes.", hint="`engine.download_max_gib` is the bound."
            )
        if size is not None and bytes_ > size:
            raise OperatorError(f"{_shown(url)} is larger than the {size} bytes that were promised.")

    @contextlib.contextmanager
    def _open(self, url: str, headers: dict[str, str]) -> "Iterator[tuple[Answer, httpx.Response]]":
        """The final answer, and the headers of the first; only allowed redirects are followed."""
        import httpx  # noqa: PLC0415

        first: Answer | None = None
        at = url
        for _ in range(_MAX_REDIRECTS + 1):
            request = self._client.build_request("GET", at, headers=headers | self._authorization(at))
            try:
                response = self._client.send(request, stream=True)
            except httpx.TransportError as error:
                raise _BrokeOff(f"the connection failed: {error}") from None
            try:
                first = first or Answer(dict(response.headers))
                if response.status_code in _REDIRECTS:
                    at = self._next(at, response.headers.get("location", ""))
                    continue
                if response.status_code in _AGAIN:
                    raise _BrokeOff(f"the server answered with status {response.status_code}.")
                if response.status_code == _NOT_SATISFIABLE and "range" in headers:
                    headers = {}  # what lies here is longer than the file: from the beginning
                    continue
                if response.status_code >= _FIRST_ERROR or response.status_code not in (_OK, _PARTIAL):
                    raise Refused(url, response.status_code, dict(response.headers))
                yield first, response
                return
            finally:
                response.close()
        raise OperatorError(f"{_shown(url)} leads from one place to the next, and never to a file.")

    def _next(self, at: str, location: str) -> str:
        there = urljoin(at, location)
        old, new = urlsplit(at), urlsplit(there)
        host = (new.hostname or "").lower()
        if host != old.hostname and not any(fnmatchcase(host, pattern) for pattern in self._hosts):
            raise OperatorError(
                f"{_shown(at)} leads to another host, {host or 'none'}.",
                hint="If that is right, add it to `engine.download_hosts`.",
            )
        if new.scheme != "https" and not (new.scheme == "http" and is_this_machine(host)):
            raise OperatorError(f"{_shown(at)} leads away from https.")
        return there

    def _authorization(self, url: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token and _origin(url) == self._token_host else {}


class _BrokeOff(Exception):
    """A transfer failed in a way that may not happen again."""


def git_blob_sha1(path: Path) -> str:
    """The name that git gives the file's content."""
    digest = hashlib.sha1(b"blob %d\0" % _size_of(path), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _begins_at(response: "httpx.Response", have: int) -> bool:
    match = _RANGE.match(response.headers.get("content-range", ""))
    return match is not None and int(match[1]) == have


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _size_of(path: Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - one call
    except FileNotFoundError:
        return 0
