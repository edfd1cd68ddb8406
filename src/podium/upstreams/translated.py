"""Answers that are put into the dialect of the endpoint on their way to the caller."""

import math
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.gateway.ports import Answer, Headers
from podium.upstreams.connection import OnPiece
from podium.wire.translation import StreamTranslation, Translated

__all__ = ["TranslatedAnswer", "dropped_notes", "refused", "translated_answer", "wants_stream"]

_OK = 200
_FIRST_ERROR = 400
_DROPPED = b"x-podium-dropped: "
_MOST_NAMES = 32
# Names come from the caller's body: what could not stand in a header is not shown.
_SHOWN = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class TranslatedAnswer:
    """An answer as the caller should see it (podium.gateway.ports.Answer).

    Status and headers are the upstream's own unless others are given.
    `stream` is for an answer that is still to come; `end` gives what it held back, once the upstream has ended.
    """

    __slots__ = ("_answer", "_end", "_stream", "body", "headers", "notes", "status", "streamed")

    def __init__(
        self,
        answer: Answer,
        *,
        status: int | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        body: bytes = b"",
        stream: StreamTranslation | None = None,
        end: Callable[[], bytes] | None = None,
        notes: Headers = b"",
    ) -> None:
        self._answer = answer
        self._stream = stream
        self._end = end
        self.status = answer.status if status is None else status
        self.headers = answer.headers if headers is None else headers
        self.streamed = stream is not None
        self.body = body
        self.notes = notes

    async def relay(self, on_piece: OnPiece) -> None:
        """Hand each translated piece of a streamed body to `on_piece` as it arrives, until it ends."""
        stream = self._stream
        assert stream is not None, "only a stream is relayed"
        wanted = True
        told = False  # what failed had our words, or the caller's, already

        def translate(piece: bytes) -> bool:
            nonlocal wanted, told
            told = True
            translated = stream.feed(piece)
            if translated:
                wanted = on_piece(translated)
            told = False
            return wanted

        try:
            await self._answer.relay(translate)
        except UpstreamError as error:
            if error.partial and not told:
                error.partial = _rest(stream, error.partial)
            raise
        if self._end is not None and wanted and (rest := self._end()):
            on_piece(rest)

    def pause(self) -> None:
        """Read nothing more for now."""
        self._answer.pause()

    def resume(self) -> None:
        """Read on."""
        self._answer.resume()

    def close(self) -> None:
        """Drop what is still to come."""
        self._answer.close()


def _rest(stream: StreamTranslation, partial: bytes) -> bytes:
    """What a stream makes of the good events before a failure."""
    try:
        return stream.feed(partial)
    except UpstreamError as error:
        return error.partial


def translated_answer(
    answer: Answer,
    translated: Translated,
    *,
    streamed: bool,
    refusal: Callable[[Answer, Headers], TranslatedAnswer],
    end_of: Callable[[StreamTranslation], Callable[[], bytes]] | None = None,
) -> TranslatedAnswer:
    """The answer to a translated request; an error is made by `refusal`, which gets the notes.

    `streamed`: a stream was asked for. What is in another form than was asked for stays untranslated: the gateway
    refuses it. UpstreamFailed: a whole answer cannot be read.
    """
    notes = dropped_notes(translated.dropped, answer.notes)
    if answer.status >= _FIRST_ERROR:
        return refusal(answer, notes)
    if answer.status != _OK:
        return TranslatedAnswer(answer, notes=notes)
    if answer.streamed:
        stream = translated.stream()
        return TranslatedAnswer(answer, stream=stream, end=end_of(stream) if end_of else None, notes=notes)
    if streamed or b"content-encoding" in answer.headers:
        return TranslatedAnswer(answer, notes=notes)
    return TranslatedAnswer(answer, body=_whole(answer, translated), notes=notes)


def _whole(answer: Answer, translated: Translated) -> bytes:
    try:
        return translated.answer(answer.body)
    except ValueError as error:
        raise UpstreamFailed(
            "The model's server sent an answer that cannot be read.",
            reason=Reason.UPSTREAM_INVALID,
            hint=f"The answer is {error}." if str(error) else "",
        ) from error


def refused(
    answer: Answer,
    body: bytes,
    *,
    status: int | None = None,
    retry_after_s: float | None = None,
    notes: Headers = b"",
) -> TranslatedAnswer:
    """An error in the endpoint's dialect. `retry_after_s` is what only the body said; a header goes before it."""
    headers = {**answer.headers, b"content-type": b"application/json"}
    headers.pop(b"content-encoding", None)
    if retry_after_s is not None:
        headers.setdefault(b"retry-after", b"%d" % math.ceil(retry_after_s))
    return TranslatedAnswer(answer, status=status, headers=headers, body=body, notes=notes)


def dropped_notes(dropped: Iterable[str], earlier: Headers = b"") -> Headers:
    r"""The header line that names what was left out, `earlier` ones included; b"" when that is nothing."""
    names = {name if _SHOWN.match(name) else "other" for name in dropped}
    if earlier:
        names.update(earlier.removeprefix(_DROPPED).decode().strip().split(", "))
    return b"%b%b\r\n" % (_DROPPED, ", ".join(sorted(names)[:_MOST_NAMES]).encode()) if names else b""


class _Asked(msgspec.Struct):
    stream: bool | None = None


_decode = msgspec.json.Decoder(_Asked).decode


def wants_stream(body: bytes) -> bool:
    """True when a request, which has been read already, asks for a stream."""
    return _decode(body).stream is True
