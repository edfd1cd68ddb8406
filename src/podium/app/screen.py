"""What `podium up` shows: progress while things load, then where to go."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["Screen"]

_STEP_S = 5.0  # between two lines of progress where lines cannot be overwritten

Progress = Callable[[str, float], None]


class Screen:
    """Plain lines; on a terminal, progress overwrites its own line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()

    def _line(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """A function to call with a stage and the fraction that is done."""
        last_s = time.monotonic()

        def show(stage: str, fraction: float) -> None:
            nonlocal last_s
            if self._terminal:
                self._out.write(f"\r\x1b[K{what}: {stage} {fraction:.0%}")
                self._out.flush()
            elif time.monotonic() - last_s >= _STEP_S:
                last_s = time.monotonic()
                self._line(f"{what}: {stage} {fraction:.0%}")

        yield show
        if self._terminal:
            self._out.write("\r\x1b[K")
        self._line(f"{what}: done")

    def state(self, name: str, state: str) -> None:
        """A process changed its state."""
        self._line(f"{name}: {state}")

    def greeting(self, *, base_url: str, key_file: Path, admin_key: str | None) -> None:
        """Where Podium is, and a line to paste. The key itself is shown once, at the first start."""
        key = f"$(cat {key_file})"
        if admin_key is not None:
            self._line(f"\nAdmin key (shown this once, kept in {key_file}):\n  {admin_key}")
        self._line(
            f"\nPodium is ready: {base_url}\n\nTry it:\n"
            f"  curl {base_url}/chat/completions \\\n"
            f'    -H "Authorization: Bearer {key}" \\\n'
            '    -H "Content-Type: application/json" \\\n'
            """    -d '{"model": "default", "messages": [{"role": "user", "content": "Name three colours."}]}'\n"""
        )

    def gateways(self, probes: Mapping[str, str], *, counted_together: bool) -> None:
        """Where each gateway of several shows its own figures, and whether limits hold for all of them together."""
        for name, url in probes.items():
            self._line(f"{name}: {url}/metrics, {url}/readyz")
        if not counted_together:
            self._line("Each gateway counts limits and budgets for itself; with redis.url they share them.")
