"""Options that many commands share. A command takes them as one value; `_command` spreads them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._http import Peer, checked_url, is_loopback, local_url
from podium.core.layout import DataFolder

if TYPE_CHECKING:
    from podium.config import Configuration, Settings

__all__ = ["AsJson", "Caller", "Listening", "Place", "Ports", "ToControl", "ToGateway"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Which data folder and which configuration."""

    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Data folder.  [env: PODIUM_HOME; default: .podium]", show_default=False),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Configuration file.  [env: PODIUM_CONFIG; default: podium.yaml here or in the data folder]",
            show_default=False,
        ),
    ] = None

    @property
    def data(self) -> DataFolder:
        """The data folder, without reading any configuration."""
        from podium.config import data_folder  # noqa: PLC0415 - reading settings takes time

        return data_folder(os.environ, self.data_dir)

    def overrides(self) -> dict[str, tuple[str, object]]:
        """Settings that the command line sets: key -> (option, value)."""
        return {}

    def configuration(self) -> "Configuration":
        """Settings and where they come from; ConfigurationError with everything that is wrong."""
        from podium.config import load_configuration  # noqa: PLC0415 - reading settings takes time

        return load_configuration(data_dir=self.data_dir, config=self.config, overrides=self.overrides())

    def settings(self) -> "Settings":
        """The settings of this command; ConfigurationError with everything that is wrong."""
        return self.configuration().settings


@dataclass(frozen=True, slots=True)
class Ports(Place):
    """And which ports."""

    port: Annotated[
        int | None,
        typer.Option("--port", help="The gateway's port.  [env: PODIUM_PORT; default: 8080]", show_default=False),
    ] = None
    admin_port: Annotated[
        int | None,
        typer.Option(
            "--admin-port", help="The admin API's port.  [env: PODIUM_ADMIN_PORT; default: 8081]", show_default=False
        ),
    ] = None

    def overrides(self) -> dict[str, tuple[str, object]]:
        """Settings that the command line sets: key -> (option, value)."""
        given = {"gateway.port": ("--port", self.port), "admin.port": ("--admin-port", self.admin_port)}
        return {key: pair for key, pair in given.items() if pair[1] is not None}


@dataclass(frozen=True, slots=True)
class Listening(Ports):
    """And on which address."""

    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            help="Address that the gateway listens on.  [env: PODIUM_HOST; default: 127.0.0.1]",
            show_default=False,
        ),
    ] = None

    def overrides(self) -> dict[str, tuple[str, object]]:
        """Settings that the command line sets: key -> (option, value)."""
        host = {} if self.host is None else {"gateway.host": ("--host", self.host)}
        return Ports.overrides(self) | host


@dataclass(frozen=True, slots=True)
class Caller(Place):
    """And the key to call with."""

    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            help="Key to call with; other users of this machine can read it here, not in the variable."
            "  [env: PODIUM_API_KEY; default: the one in <data>/admin.key]",
            show_default=False,
        ),
    ] = None

    def key_for(self, url: str) -> str | None:
        """The key that was named; else the local admin key, which goes to this machine only; else none."""
        named = self.api_key or os.environ.get("PODIUM_API_KEY")
        if named or not is_loopback(url):
            return named or None
        try:
            return self.data.admin_key_file.read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None


@dataclass(frozen=True, slots=True)
class ToGateway(Caller):
    """And where the gateway is."""

    port: Annotated[
        int | None,
        typer.Option("--port", help="The local gateway's port.  [env: PODIUM_PORT; default: 8080]", show_default=False),
    ] = None
    url: Annotated[
        str | None, typer.Option("--url", help="The gateway's address.  [env: PODIUM_URL]", show_default=False)
    ] = None

    def overrides(self) -> dict[str, tuple[str, object]]:
        """Settings that the command line sets: key -> (option, value)."""
        return {} if self.port is None else {"gateway.port": ("--port", self.port)}

    def peer(self) -> Peer:
        """The gateway: as named, else the one that the settings make."""
        url = self.url or (None if self.port is not None else os.environ.get("PODIUM_URL"))
        if not url:
            server = self.settings().server
            url = local_url(server.host, server.port)
        start = "Start it with `podium up`, or name its address with --url."
        return Peer("The gateway", checked_url(url, "/v1"), start)


@dataclass(frozen=True, slots=True)
class ToControl(Caller):
    """And where the control process is."""

    admin_port: Annotated[
        int | None,
        typer.Option(
            "--admin-port",
            help="The local admin API's port.  [env: PODIUM_ADMIN_PORT; default: 8081]",
            show_default=False,
        ),
    ] = None
    admin_url: Annotated[
        str | None,
        typer.Option("--admin-url", help="The admin API's address.  [env: PODIUM_ADMIN_URL]", show_default=False),
    ] = None

    def overrides(self) -> dict[str, tuple[str, object]]:
        """Settings that the command line sets: key -> (option, value)."""
        return {} if self.admin_port is None else {"admin.port": ("--admin-port", self.admin_port)}

    def peer(self) -> Peer:
        """The control process: as named, else the one that the settings make."""
        url = self.admin_url or (None if self.admin_port is not None else os.environ.get("PODIUM_ADMIN_URL"))
        if not url:
            admin = self.settings().admin
            url = local_url(admin.host, admin.port)
        start = "Start it with `podium up` or `podium control`, or name its address with --admin-url."
        return Peer("The control process", checked_url(url, "/admin/v1"), start)
