"""Images, sound and documents of a chat, as parts of Gemini's."""

from urllib.parse import urlsplit

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.chat.requests import AudioPart, FilePart, ImagePart
from podium.wire.gemini.body import FileData, InlineData, Part

__all__ = ["media_part"]

# What the API reads by URL or inline, by the end of a path.
# https://ai.google.dev/gemini-api/docs/file-input-methods
_BY_SUFFIX = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "csv": "text/csv",
    "html": "text/html",
    "xml": "text/xml",
    "json": "application/json",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/mov",
}
_AUDIO = {name: f"audio/{name}" for name in ("wav", "mp3", "aac", "flac", "ogg", "aiff")}
_FETCHED = ("https://", "gs://")  # gs: Vertex AI only


def media_part(part: ImagePart | AudioPart | FilePart, where: str) -> Part:
    """The same for Gemini. InvalidRequest names `where` when it cannot be sent."""
    match part:
        case ImagePart(image_url=image):
            return _by_url(image.url, f"{where}.image_url.url", otherwise="image/jpeg")
        case AudioPart(input_audio=sound):
            mime_type = _AUDIO.get(sound.format.lower())
            if mime_type is None:
                raise InvalidRequest(
                    f"Gemini reads audio as {', '.join(_AUDIO)}.", parameter=f"{where}.input_audio.format"
                )
            return _inline(mime_type, sound.data, f"{where}.input_audio.data")
        case FilePart(file=file):
            if not file.file_data:
                raise InvalidRequest(
                    "Files that were uploaded elsewhere are not known to the model's provider: send `file_data`.",
                    reason=Reason.UNSUPPORTED_PARAMETER,
                    parameter=f"{where}.file.file_id",
                )
            return _by_url(file.file_data, f"{where}.file.file_data", otherwise="application/pdf")


def _by_url(url: str, where: str, *, otherwise: str) -> Part:
    """`otherwise` is the type of what is fetched from a path that does not show it."""
    if url.startswith("data:"):
        header, _, data = url[5:].partition(",")
        mime_type, *parameters = header.split(";")
        if not mime_type or "base64" not in parameters:
            raise InvalidRequest("A data URL must look like `data:<type>;base64,<data>`.", parameter=where)
        return _inline(mime_type.lower(), data, where)
    if not url.startswith(_FETCHED):
        raise InvalidRequest("Only data URLs and https URLs can be read by the model's provider.", parameter=where)
    try:
        path = urlsplit(url).path
    except ValueError:
        raise InvalidRequest("This is not a URL.", parameter=where) from None
    suffix = path.rpartition(".")[2].lower()
    return Part(file_data=FileData(file_uri=url, mime_type=_BY_SUFFIX.get(suffix, otherwise)))


def _inline(mime_type: str, data: str, where: str) -> Part:
    if not data:
        raise InvalidRequest("There is no data.", parameter=where)
    return Part(inline_data=InlineData(mime_type=mime_type, data=data))
