"""A streamed answer of Gemini as one of OpenAI's.

Rules
1. Nothing in Gemini's stream marks its end. It is over when each candidate that was asked for has said why it
   ended and the token counts are known: then, in the same breath, come the usage and [DONE].
2. Before that there is no [DONE]: of a stream that breaks off, the relay sees that it did.
3. A prompt that is refused gets one choice that the content filter ended.
"""

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.chat.writer import ChunkWriter, CompletionHead
from podium.wire.gemini.answers import Answering
from podium.wire.gemini.choices import CallIds, ChoiceWriter, chunk_head, said_logprobs
from podium.wire.gemini.endings import ending
from podium.wire.gemini.errors import stream_error
from podium.wire.gemini.response import Candidate, Part, Response, TokenCounts, read_response, usage_of
from podium.wire.openai import DONE
from podium.wire.sse import SseFramer, event_data, split_events

__all__ = ["GeminiStream"]

_NO_ERROR = (b"", b"null")


class GeminiStream:
    """One stream (podium.wire.translation.StreamTranslation)."""

    __slots__ = ("_answering", "_chunk_head", "_counts", "_done", "_framer", "_head", "_ids", "_open", "_writers")

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._framer = SseFramer()
        self._ids = CallIds(answering.fallback_id)
        self._head: CompletionHead | None = None  # known from the first event on
        self._chunk_head = b""
        self._writers: dict[int, ChoiceWriter] = {}  # by the candidate's index
        self._open = answering.candidates
        self._counts: TokenCounts | None = None  # the last that said something
        self._done = False

    def feed(self, piece: bytes) -> bytes:
        r"""Whole events of OpenAI's for what is complete now; b"" when nothing is, or when the answer is over.

        UpstreamError: the provider reported an error (its status is `upstream_status`), or the model broke off;
        UpstreamFailed (reason UPSTREAM_INVALID): an event cannot be read.
        """
        if self._done:
            return b""
        said: list[bytes] = []
        try:
            for event in split_events(self._block(piece)):
                self._take(event, said)
                if self._done:
                    break
            else:
                self._refuse_bare_error(self._framer.unfinished)
        except UpstreamError as error:
            error.partial = b"".join(said)
            raise
        return b"".join(said)

    def _block(self, piece: bytes) -> bytes:
        """What is complete now, its lines ended by LF: Google ends them by CRLF, and JSON holds no bare line ends."""
        block = self._framer.feed(piece.replace(b"\r\n", b"\n"))
        return block.replace(b"\r\n", b"\n") if b"\r" in block else block  # a CRLF that was cut

    def _take(self, event: bytes, said: list[bytes]) -> None:
        data = event_data(event)
        if data is None:
            self._refuse_bare_error(event)
            return
        try:
            response = read_response(data)
            if bytes(response.error) in _NO_ERROR:
                self._answer(response, said)
                return
        except ValueError:
            self._refuse_bare_error(data)  # a list with one error in it
            raise _unreadable() from None
        raise stream_error(data) or UpstreamError("The model's server reported an error within the stream.")
        self._answer(response, said)

    def _answer(self, response: Response, said: list[bytes]) -> None:
        if self._head is None:
            self._begin(response)
        counts = response.usage_metadata
        if counts is not None and counts.prompt_token_count is not None:
            self._counts = counts
        for candidate in response.candidates or ():
            self._candidate(candidate, said)
        if response.blocked and not self._writers:
            said.append(self._writer(0, said).finish("content_filter"))
            self._open = 0
        if self._open <= 0 and (usage := usage_of(self._counts)) is not None:
            assert self._head is not None
            said += (ChunkWriter(self._head).usage(usage), DONE)
            self._done = True

    def _begin(self, response: Response) -> None:
        answering = self._answering
        self._head = CompletionHead(
            id=response.response_id or answering.fallback_id,
            model=response.model_version or answering.model,
            created_unix_s=answering.created_unix_s,
        )
        self._chunk_head = chunk_head(self._head)

    def _writer(self, index: int, said: list[bytes]) -> ChoiceWriter:
        writer = self._writers.get(index)
        if writer is None:
            if not 0 <= index < self._answering.candidates:
                raise _unreadable()
            writer = self._writers[index] = ChoiceWriter(self._chunk_head, index)
            said.append(writer.role())
        return writer

    def _candidate(self, candidate: Candidate, said: list[bytes]) -> None:
        writer = self._writer(candidate.index, said)
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._part(part, writer, said)
        if candidate.logprobs_result is not None:
            said.append(writer.logprobs(said_logprobs(candidate.logprobs_result)))
        if candidate.finish_reason is not None and not writer.finished:
            said.append(writer.finish(ending(candidate.finish_reason, has_calls=writer.calls > 0)))
            self._open -= 1

    def _part(self, part: Part, writer: ChoiceWriter, said: list[bytes]) -> None:
        if part.text:
            said.append(writer.reasoning(part.text) if part.thought else writer.text(part.text))
        elif part.function_call is not None:
            call = self._ids.said(part.function_call, part.thought_signature, index=writer.calls)
            said.append(writer.call(call))

    def _refuse_bare_error(self, data: bytes) -> None:
        """An error may come as it does outside of a stream: JSON without `data:`, and without a blank line after it."""
        if data and data.lstrip()[:1] in {b"{", b"["} and (error := stream_error(data)) is not None:
            raise error


def _unreadable() -> UpstreamFailed:
    return UpstreamFailed(
        "The model's server sent an event that is no answer of Gemini.", reason=Reason.UPSTREAM_INVALID
    )
