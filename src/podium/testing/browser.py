"""A real browser without a window: what a page looks like in it, what it loads, and what goes wrong in it.

Chromium in a process of its own, with a profile of its own, spoken to by its DevTools protocol through two pipes: no
port, and no driver. It can reach nothing but files.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

__all__ = ["Browser", "browser_program"]

# Debian's smallest one, and what other systems call it.
_PROGRAMS = (
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
_OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which root and most containers cannot have; it shows our own files only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
    "--use-mock-keychain",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
_REDIRECTED = 'exec "$@" 3<&0 4>&1 </dev/null >&2'  # it listens at descriptor 3 and speaks at 4
_PATIENCE_S = 30.0
_TAIL_CHARACTERS = 4000
_CHUNK = 1 << 16
_HEIGHT = 900
_LOUD = frozenset({"error", "warning"})


def browser_program() -> str:
    """The path of a Chromium; FileNotFoundError when this machine has none."""
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        f"no browser was found ({', '.join(_PROGRAMS)}): `make browser` installs one where apt-get and root are at hand"
    )


class Browser:
    """A browser with one page, which runs in the block. Its calls block, for half a minute at most.

    `requested`: the addresses of all that the page has asked for. `problems`: what its console, its scripts and its
    security policy complained of. Both are of the file that was opened last.
    """

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.problems: list[str] = []
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._session = ""
        self._number = 0
        self._read = b""
        self._loaded: set[str] = set()  # by the ids of navigations

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="podium-browser-"))
        try:
            self._start(self._folder)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_PATIENCE_S)
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, file: Path) -> None:
        """Show a file; returns when it and all that it names are there."""
        self.requested.clear()
        self.problems.clear()
        answer = self._call("Page.navigate", url=file.resolve().as_uri())
        assert not answer.get("errorText"), answer
        deadline = time.monotonic() + _PATIENCE_S
        while answer["loaderId"] not in self._loaded:
            self._take(self._next(deadline))

    def look(self, *, width: int, dark: bool = False, printed: bool = False) -> None:
        """Show it in a window of this width, in light or dark, on a screen or on paper."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=_HEIGHT, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media="print" if printed else "screen", features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page, laid out as it is now."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """The whole page as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def _start(self, folder: Path) -> None:
        with (folder / "browser.log").open("wb") as log:
            options = (*_OPTIONS, f"--user-data-dir={folder / 'profile'}")
            self._process = subprocess.Popen(  # noqa: S603 - a browser of our choice
                ["/bin/sh", "-c", _REDIRECTED, "sh", browser_program(), *options, "about:blank"],
                env=os.environ | {"HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call("Page.setLifecycleEventsEnabled", enabled=True)

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        """What it answers. What happened meanwhile is noted."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        pipe = self._pipes()[0]
        pipe.write(json.dumps(message).encode() + b"\0")
        pipe.flush()
        deadline = time.monotonic() + _PATIENCE_S
        while (answer := self._next(deadline)).get("id") != self._number:
            self._take(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self, deadline: float) -> dict[str, Any]:
        """A message of its."""
        pipe = self._pipes()[1]
        while b"\0" not in self._read:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(pipe.fileno(), _CHUNK) if ready else b""
            if not part:
                raise AssertionError(f"the browser {'has ended' if ready else 'does not answer'}:\n{self._tail()}")
            self._read += part
        told, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(told)
        return message

    def _take(self, message: dict[str, Any]) -> None:
        """Note what happened."""
        told = message.get("params", {})
        match message.get("method"):
            case "Page.lifecycleEvent" if told["name"] == "load":
                self._loaded.add(told["loaderId"])
            case "Network.requestWillBeSent":
                self.requested.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in _LOUD:
                self.problems.append(json.dumps(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in _LOUD:
                self.problems.append(told["entry"]["text"])

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Where it listens, and where it speaks."""
        assert self._process is not None, "inside of the block only"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _tail(self) -> str:
        assert self._folder is not None
        return (self._folder / "browser.log").read_text("utf-8", "replace")[-_TAIL_CHARACTERS:]
