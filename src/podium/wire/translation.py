"""What a translation between OpenAI's chat and another protocol looks like. Pure: bytes in, bytes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["StreamTranslation", "Translated", "Unsupported"]

# What to do with a request field that the other protocol cannot express: refuse the request, or leave the field out.
Unsupported = Literal["reject", "drop"]


class StreamTranslation(Protocol):
    """One streamed answer on its way from a provider's form to the caller's. Keeps what is not complete yet."""

    def feed(self, piece: bytes) -> bytes:
        r"""Whole events in the caller's dialect for what is complete now; b"" when nothing is.

        Pieces are cut anywhere. UpstreamError: the provider reported an error inside the stream, with its status
        as `upstream_status` where it has one; UpstreamFailed (reason UPSTREAM_INVALID): it cannot be read. Either
        has as `partial` the events for what was good before it.
        """


@dataclass(frozen=True, slots=True)
class Translated:
    """One request in a provider's form, and how to read what comes back."""

    body: bytes
    dropped: tuple[str, ...]  # request fields that the provider cannot express and that were left out
    answer: Callable[[bytes], bytes]  # a whole answer -> the caller's dialect; ValueError: it cannot be read
    stream: Callable[[], StreamTranslation]
