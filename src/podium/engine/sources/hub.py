"""Repositories on a hub that speaks Hugging Face's HTTP API: https://huggingface.co/docs/hub/api.

1. `GET /api/models/<repo>/revision/<revision>?blobs=true` tells the commit and the files, with sizes and checksums
   (SHA-256 of large files, git's name of small ones).
2. `GET /<repo>/resolve/<commit>/<path>` leads to the bytes, for large files by a redirect to a store of the hub.

A client of our own, and not `huggingface_hub`, which the extra `local` brings along: here each redirect, size and
checksum is checked, the token goes to the hub alone, and nothing is kept in a cache of its own.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from podium.core.errors import OperatorError
from podium.engine.sources.download import Answer, Downloads, Refused, git_blob_sha1
from podium.engine.sources.reference import HubSource, check_url

__all__ = ["Hub", "HubFile", "hub_endpoint", "hub_token"]

_DEFAULT = "https://huggingface.co"
_MAX_LISTING = 32 * 1024 * 1024
_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_SHA256_LENGTH, _SHA1_LENGTH = 64, 40


class _Lfs(msgspec.Struct, frozen=True):
    sha256: str | None = None
    size: int | None = None


class _Sibling(msgspec.Struct, frozen=True):
    rfilename: str
    size: int | None = None
    blobId: str | None = None  # noqa: N815 - the hub's name
    lfs: _Lfs | None = None


class _Listing(msgspec.Struct, frozen=True):
    sha: str
    siblings: list[_Sibling] = []
    cardData: dict[str, Any] | None = None  # noqa: N815 - the hub's name


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a repository, as the hub lists it."""

    path: str
    size: int | None
    sha256: str | None  # of large files
    git_sha1: str | None  # of small ones


class Hub:
    """One repository at one commit."""

    def __init__(self, downloads: Downloads, source: HubSource, endpoint: str) -> None:
        """Looks the revision up; `OperatorError` when there is no such repository, or it may not be read."""
        self._downloads = downloads
        self._repository = source.repository
        self._endpoint = endpoint
        path = f"/api/models/{quote(source.repository)}/revision/{quote(source.revision, safe='')}?blobs=true"
        try:
            text = downloads.text(endpoint + path, max_bytes=_MAX_LISTING)
        except Refused as error:
            raise _explained(source, endpoint, error) from None
        try:
            listing = msgspec.json.decode(text, type=_Listing)
        except msgspec.MsgspecError as error:
            raise OperatorError(f"{endpoint} does not answer as a hub: {error}") from None
        if len(listing.sha) != _SHA1_LENGTH or not listing.sha.isalnum():
            raise OperatorError(f"{endpoint} names no commit for {source}.")
        self.source = HubSource(source.repository, listing.sha)
        self.files = {one.rfilename: _file(one) for one in listing.siblings}
        licence = (listing.cardData or {}).get("license")
        self.licence = licence[:200] if isinstance(licence, str) else ""

    def fetch(self, file: HubFile, target: Path, progress: Any) -> None:
        """Fetch one file and check it against what the hub promised; `OperatorError` when it is another."""
        url = f"{self._endpoint}/{quote(self._repository)}/resolve/{self.source.revision}/{quote(file.path)}"
        try:
            answer = self._downloads.file(url, target, size=file.size, progress=progress)
        except Refused as error:
            raise _explained(self.source, self._endpoint, error) from None
        self._check_commit(answer)
        linked = answer.headers.get("x-linked-etag", "").strip('"')
        if file.sha256 and len(linked) == _SHA256_LENGTH and linked != file.sha256:
            raise OperatorError(f"The hub names two checksums for {file.path} of {self.source}.")
        if file.sha256 is None and file.git_sha1 is not None and git_blob_sha1(target) != file.git_sha1:
            target.unlink()
            raise OperatorError(
                f"{file.path} of {self.source} is not the file that the hub lists: its checksum differs."
            )

    def _check_commit(self, answer: Answer) -> None:
        commit = answer.headers.get("x-repo-commit", self.source.revision)
        if commit != self.source.revision:
            raise OperatorError(f"The hub answered with another commit, {commit[:40]!r}, than {self.source}.")


def hub_endpoint() -> str:
    """The hub's address: `HF_ENDPOINT`, or Hugging Face."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _DEFAULT
    check_url(endpoint)
    return endpoint


def hub_token(token_file: str | None) -> str:
    """The hub's token: of the file that is set, of `HF_TOKEN`, of the file that the hub's own tools keep, or ""."""
    if token_file is not None:
        return _read(Path(token_file), must=True)
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return _read(Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token"), must=False)


def _read(path: Path, *, must: bool) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if must:
            raise OperatorError(f"The hub's token cannot be read from {path}: {error}") from None
        return ""
    return text if text.isascii() and text.isprintable() else ""


def _file(sibling: _Sibling) -> HubFile:
    lfs = sibling.lfs or _Lfs()
    size = lfs.size if lfs.size is not None else sibling.size
    return HubFile(
        path=sibling.rfilename, size=size, sha256=lfs.sha256, git_sha1=sibling.blobId if not lfs.sha256 else None
    )


def _explained(source: HubSource, endpoint: str, error: Refused) -> OperatorError:
    host = urlsplit(endpoint).hostname
    if error.code == "GatedRepo" or error.status == _FORBIDDEN:
        return OperatorError(
            f"{host} lets only those read {source.repository} whom its authors let in.",
            hint="Ask for access on its page, and give the token: HF_TOKEN or `engine.hub_token_file`.",
        )
    if error.code == "RevisionNotFound":
        return OperatorError(f"{source.repository} on {host} has no revision {source.revision!r}.")
    if error.code == "EntryNotFound":
        return OperatorError(f"A file that {host} lists for {source} is not there.")
    if error.status in (_UNAUTHORISED, _NOT_FOUND):
        return OperatorError(
            f"{host} has no model {source.repository}, or does not show it to you.",
            hint="For a private one give the token: HF_TOKEN or `engine.hub_token_file`.",
        )
    return error
