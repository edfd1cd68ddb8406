"""Content blocks of a Messages request -> the parts of a chat message."""

from podium.wire.anthropic.face_blocks import (
    Base64Source,
    Content,
    ContentSource,
    Document,
    FileSource,
    Foreign,
    Image,
    Placed,
    SearchResult,
    Text,
    TextSource,
    ToolUse,
    read_blocks,
)
from podium.wire.anthropic.face_losses import Losses

__all__ = ["Json", "Parts", "joined"]

Json = dict[str, object]


class Parts:
    """Makes parts of one request. `cache_marks`: `cache_control` stays on the parts, for who understands it."""

    __slots__ = ("_cache_marks", "_losses")

    def __init__(self, losses: Losses, *, cache_marks: bool) -> None:
        self._losses = losses
        self._cache_marks = cache_marks

    def of(self, placed: list[Placed]) -> list[Json]:
        """The parts of some blocks, in their order."""
        return [part for path, block in placed for part in self._of_block(path, block)]

    def texts(self, placed: list[Placed], between: str) -> str | list[Json]:
        """What only text may stand in (a system prompt), as `joined` has it."""
        for path, block in placed:
            if not isinstance(block, Text):
                self._losses.add(_name_of(block), path)
        return joined(self.of([found for found in placed if isinstance(found[1], Text)]), between)

    def _of_block(self, path: str, block: object) -> list[Json]:
        match block:
            case Text():
                return [self._marked({"type": "text", "text": block.text}, block.cache_control)]
            case Image():
                return self._of_image(path, block)
            case Document():
                return self._of_document(path, block)
            case SearchResult():
                self._refuse_citations(path, block, "search_result")
                return [{"type": "text", "text": f"{block.title}\n{block.source}"}, *self._within(path, block.content)]
            case _:
                self._losses.add(_name_of(block), path)
                return []

    def _of_image(self, path: str, image: Image) -> list[Json]:
        source = image.source
        if isinstance(source, FileSource):
            self._losses.add("messages.image.source.file", path)
            return []
        url = _data_url(source) if isinstance(source, Base64Source) else source.url
        return [self._marked({"type": "image_url", "image_url": {"url": url}}, image.cache_control)]

    def _of_document(self, path: str, document: Document) -> list[Json]:
        """A chat takes files only as data; the title of a text stands before it, as does what is said about it."""
        self._refuse_citations(path, document, "document")
        about = [text for text in (document.title, document.context) if text]
        match document.source:
            case Base64Source() as source:
                file = {"filename": document.title or "document.pdf", "file_data": _data_url(source)}
                context: list[Json] = [{"type": "text", "text": document.context}] if document.context else []
                return [*context, self._marked({"type": "file", "file": file}, document.cache_control)]
            case TextSource() as source:
                text = "\n\n".join((*about, source.data))
                return [self._marked({"type": "text", "text": text}, document.cache_control)]
            case ContentSource() as source:
                texts: list[Json] = [{"type": "text", "text": text} for text in about]
                return texts + self._within(path, source.content)
            case source:
                kind = "file" if isinstance(source, FileSource) else "url"
                self._losses.add(f"messages.document.source.{kind}", path)
                return []

    def _within(self, path: str, content: Content) -> list[Json]:
        return self.of(read_blocks(content, f"{path}.content"))

    def _refuse_citations(self, path: str, block: Document | SearchResult, kind: str) -> None:
        if block.citations is not None and block.citations.enabled:
            self._losses.add(f"messages.{kind}.citations", path)

    def _marked(self, part: Json, cache_control: dict[str, str] | None) -> Json:
        if self._cache_marks and cache_control is not None:
            part["cache_control"] = cache_control
        return part


def joined(parts: list[Json], between: str) -> str | list[Json]:
    """One string where nothing but text is said: the form that every server reads; else the parts.

    Servers that need a string join parts themselves, so `between` is theirs.
    """
    texts = [part["text"] for part in parts if part.keys() == {"type", "text"}]
    return between.join(map(str, texts)) if len(texts) == len(parts) else parts


def _data_url(source: Base64Source) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def _name_of(block: object) -> str:
    """The name of a block that may not stand where it stands."""
    match block:
        case Foreign():
            return block.name
        case ToolUse():
            return "messages.tool_use"
        case _:
            return f"messages.{type(block).__name__.lower()}"
