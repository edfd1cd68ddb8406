"""Images, documents and sound of a chat request -> blocks of the Converse API.

Bedrock fetches nothing: what it should see has to be in the request.
"""

import binascii
import re

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.bedrock.shapes import Audio, Block, Document, Image, Source
from podium.wire.chat.requests import AudioPart, FilePart, ImagePart

__all__ = ["DocumentNames", "audio_block", "document_block", "image_block", "inexpressible"]

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_OFFICE = "application/vnd.openxmlformats-officedocument."
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    f"{_OFFICE}wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_EXTENSIONS = frozenset(_DOCUMENTS.values())
_SOUNDS = ("mp3", "wav")
_FORBIDDEN_IN_NAMES = re.compile(r"[^A-Za-z0-9 ()\[\]-]+")
_BLANKS = re.compile(r"\s+")
_MAX_NAME = 200


def inexpressible(sentence: str) -> InvalidRequest:
    """The error for content that Bedrock cannot be given; leaving it out would change what is asked."""
    return InvalidRequest(sentence, reason=Reason.UNSUPPORTED_PARAMETER, parameter="messages")


class DocumentNames:
    """Names as Bedrock demands them: few kinds of characters, and each only once in a request."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def name(self, filename: str | None) -> str:
        """A name for a document whose file has this name."""
        stem, dot, extension = (filename or "").rpartition(".")
        stem = stem if dot and extension.lower() in _EXTENSIONS else filename or ""
        allowed = _FORBIDDEN_IN_NAMES.sub("-", _BLANKS.sub(" ", stem)).strip(" -")
        base = allowed[: _MAX_NAME - 8].rstrip() or "document"
        name, count = base, 1
        while name in self._given:
            count += 1
            name = f"{base} ({count})"
        self._given.add(name)
        return name


def image_block(part: ImagePart) -> Block:
    """The block of an image; InvalidRequest unless it is a data URL of a known kind."""
    media_type, data = _read_data_url(part.image_url.url, "An image")
    if media_type not in _IMAGES:
        kinds = "PNG, JPEG, GIF and WebP"
        raise inexpressible(f"AWS Bedrock takes images as {kinds} only, not {media_type or 'without a type'}.")
    return Block(image=Image(_IMAGES[media_type], Source(data)))


def document_block(part: FilePart, names: DocumentNames) -> Block:
    """The block of a document; InvalidRequest: it is not in the request, or of an unknown kind."""
    file = part.file
    if file.file_data is None:
        raise inexpressible("AWS Bedrock takes a file as `file_data` only: it does not know files by id.")
    if file.file_data[:5].lower() == "data:":
        media_type, data = _read_data_url(file.file_data, "A file")
    else:
        media_type, data = "", _checked(file.file_data, "A file")
    extension = (file.filename or "").rpartition(".")[2].lower()
    kind = _DOCUMENTS.get(media_type) or (extension if extension in _EXTENSIONS else None)
    if kind is None:
        raise inexpressible(f"AWS Bedrock takes these kinds of documents only: {', '.join(sorted(_EXTENSIONS))}.")
    return Block(document=Document(kind, names.name(file.filename), Source(data)))


def audio_block(part: AudioPart) -> Block:
    """The block of a recording; InvalidRequest: its kind is unknown."""
    sound = part.input_audio
    if sound.format not in _SOUNDS:
        raise inexpressible("`input_audio.format` must be wav or mp3.")
    return Block(audio=Audio(sound.format, Source(_checked(sound.data, "A recording"))))


def _read_data_url(url: str, what: str) -> tuple[str, str]:
    """The media type in lower case, and the data as base64."""
    head = _DATA_URL.match(url)
    if head is None:
        raise inexpressible(f"{what} must be a data URL: AWS Bedrock fetches nothing.")
    if ";base64" not in head[2].lower():
        raise inexpressible(f"{what} must be a data URL with base64.")
    return head[1].strip().lower(), _checked(url[head.end() :], what)


def _checked(data: str, what: str) -> str:
    """The data as it is; InvalidRequest when it is not base64 or nothing."""
    try:
        empty = not binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # binascii.Error, or characters beyond ASCII
        raise inexpressible(f"{what} is not valid base64.") from None
    if empty:
        raise inexpressible(f"{what} is empty.")
    return data
