"""A hub for model files on the loopback interface: Hugging Face's URLs, headers and error codes, with faults on demand.

Large files are redirected to `/store/<sha256>`, as the hub does it with its own file store; small ones are not. There,
anything may follow the checksum.
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

__all__ = ["ModelHub"]

_LARGE = (".gguf", ".safetensors", ".onnx", ".bin", ".data")
_RANGE = re.compile(r"bytes=(\d+)-\Z")


class ModelHub:
    """A context manager; serves while it is open."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.licences: dict[str, str] = {}
        self.token = ""  # whoever does not send it is told that there is no such repository
        self.redirect = ""  # where large files are redirected to instead of this server
        self.breaks: list[int] = []  # bytes after which the next transfers break off
        self.ignores_ranges = False
        self.lies: dict[str, bytes] = {}  # path -> what is sent instead
        self.requests: list[tuple[str, dict[str, str]]] = []  # path and headers, names in lower case
        hub = self

        class Handler(_Handler):
            owner: ClassVar[ModelHub] = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01), daemon=True)

    @property
    def url(self) -> str:
        """What `HF_ENDPOINT` is to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def commit(self, repository: str) -> str:
        """The commit of what is in the repository now."""
        files = self.repositories[repository]
        return hashlib.sha1(repr(sorted(files)).encode() + b"".join(files.values()), usedforsecurity=False).hexdigest()

    def fetched(self, part: str) -> int:
        """How many requests there were for paths with this in them."""
        return sum(part in path for path, _ in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of callers that went away."""


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[ModelHub]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer as the hub does."""
        hub, path = self.owner, unquote(urlsplit(self.path).path)
        hub.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
        if path.startswith("/store/"):
            self._stored(path.split("/")[2])
        elif hub.token and self.headers.get("authorization") != f"Bearer {hub.token}":
            self._error(401, "RepoNotFound", "Repository not found")
        elif match := re.fullmatch(r"/api/models/(.+)/revision/([^/]+)", path):
            self._listing(match[1], match[2])
        elif match := re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3])
        else:
            self._error(404, "", "no such page")

    def _listing(self, repository: str, revision: str) -> None:
        hub = self.owner
        if repository not in hub.repositories:
            return self._error(404, "RepoNotFound", "Repository not found")
        commit = hub.commit(repository)
        if revision not in ("main", commit):
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        siblings = []
        for path, data in hub.repositories[repository].items():
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            entry: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": git}
            if path.endswith(_LARGE):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 133}
            siblings.append(entry)
        card = {"license": hub.licences[repository]} if repository in hub.licences else None
        return self._send(
            200, json.dumps({"id": repository, "sha": commit, "siblings": siblings, "cardData": card}).encode()
        )

    def _resolve(self, repository: str, revision: str, path: str) -> None:
        hub = self.owner
        data = hub.repositories.get(repository, {}).get(path)
        if data is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        commit = hub.commit(repository)
        if revision not in ("main", commit):
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        headers = {"x-repo-commit": commit}
        if not path.endswith(_LARGE):
            return self._send(200, hub.lies.get(path, data), headers)
        digest = hashlib.sha256(data).hexdigest()
        headers |= {"x-linked-etag": f'"{digest}"', "x-linked-size": str(len(data))}
        where = hub.redirect or f"{hub.url}/store"
        return self._send(302, b"", headers | {"location": f"{where}/{digest}"})

    def _stored(self, digest: str) -> None:
        hub = self.owner
        every = ((path, data) for files in hub.repositories.values() for path, data in files.items())
        found = next(((path, data) for path, data in every if hashlib.sha256(data).hexdigest() == digest), None)
        if found is None:
            return self._error(404, "", "no such file")
        data = hub.lies.get(*found)
        headers = {"etag": f'"{digest}"', "accept-ranges": "bytes"}
        wanted = _RANGE.match(self.headers.get("range", ""))
        if wanted is None or hub.ignores_ranges or self.headers.get("if-range", f'"{digest}"') != f'"{digest}"':
            return self._send(200, data, headers)
        begin = int(wanted[1])
        if begin >= len(data):
            return self._send(416, b"", headers)
        headers["content-range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return self._send(206, data[begin:], headers)

    def _error(self, status: int, code: str, message: str) -> None:
        self._send(status, b"{}", {"x-error-code": code, "x-error-message": message} if code else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.path.startswith("/store/") and self.owner.breaks:
            self.wfile.write(body[: self.owner.breaks.pop(0)])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
