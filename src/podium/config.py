"""All settings of a process: read, checked and assembled.

Later wins: the defaults, `podium.yaml`, the environment, command-line options. Each package owns its settings
dataclass; `Settings` here only puts them side by side. Every problem is reported at once, each with the place
that it comes from and the key's path.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from podium.config_environment import SHORT_FORMS, read_environment
from podium.config_file import Given, read_file
from podium.config_options import KeyPath, Option, assemble, options_of
from podium.config_values import Unacceptable, as_text, convert, parse
from podium.control.settings import ControlSettings
from podium.core.errors import OperatorError, PodiumError
from podium.core.layout import DataFolder
from podium.engine.settings import EngineSettings
from podium.gateway.settings import GatewaySettings
from podium.identity.settings import IdentitySettings
from podium.store.redis.settings import RedisSettings
from podium.store.settings import DatabaseSettings, JournalSettings
from podium.telemetry.settings import TelemetrySettings
from podium.web.admin.settings import AdminSettings
from podium.web.settings import GatewayServerSettings

__all__ = [
    "DEFAULT_DATA_FOLDER",
    "REMOVED",
    "Configuration",
    "ConfigurationError",
    "Section",
    "Settings",
    "child_environment",
    "data_folder",
    "load_configuration",
    "load_settings",
    "options",
    "sections",
]

DEFAULT_DATA_FOLDER = Path(".podium")
FILE_NAME = "podium.yaml"
_PASSWORD_IN_URL = re.compile(r"(://[^/@:]*:)[^/@]*@")

# Settings that were, and what to do instead: "gateway.old_name": "use gateway.new_name".
REMOVED: dict[str, str] = {}


class ConfigurationError(OperatorError):
    """The configuration is wrong. `problems` has one sentence for each thing to mend."""

    exit_code: ClassVar[int] = 78  # EX_CONFIG of sysexits.h

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems), hint="`podium check-config` checks it without starting anything")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, in the order of the reference page.

    A field is a section of `podium.yaml` of the same name, or of the name that its metadata gives.
    """

    data: DataFolder = field(default=DataFolder(DEFAULT_DATA_FOLDER))
    server: GatewayServerSettings = field(default_factory=GatewayServerSettings, metadata={"section": "gateway"})
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings and where they come from."""

    settings: Settings
    file: Path | None  # the configuration file that was read
    origins: Mapping[str, str]  # key -> "podium.yaml:7", "PODIUM_PORT", "--port"; keys at their default are not here

    def described(self) -> dict[str, dict[str, object]]:
        """Every setting's `value` and `origin` by its key; a secret one is only said to be set."""
        return {
            option.key: {
                "value": _described(option, value),
                "origin": self.origins.get(option.key, "default"),
            }
            for option, value in _values(self.settings)
        }


@dataclass(frozen=True, slots=True)
class Section:
    """A field of `Settings`: its name there, its name in the file, its dataclass."""

    attribute: str
    name: str
    form: type


@cache
def sections() -> tuple[Section, ...]:
    """The fields of `Settings` that can be set."""
    forms = get_type_hints(Settings)
    return tuple(
        Section(entry.name, entry.metadata.get("section", entry.name), forms[entry.name])
        for entry in fields(Settings)
        if entry.name != "data"
    )


@cache
def options() -> dict[KeyPath, Option]:
    """Every setting by its path, in the order of the reference page."""
    return {option.path: option for section in sections() for option in options_of(section.form, (section.name,))}


def data_folder(environment: Mapping[str, str], chosen: Path | None = None) -> DataFolder:
    """The data folder: `--data-dir`, else `PODIUM_HOME`, else `.podium`."""
    home = environment.get("PODIUM_HOME")
    return DataFolder(chosen or (Path(home).expanduser() if home else DEFAULT_DATA_FOLDER))


def load_settings(
    *,
    data_dir: Path | None = None,
    config: Path | None = None,
    overrides: Mapping[str, tuple[str, object]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings alone; see `load_configuration`."""
    return load_configuration(data_dir=data_dir, config=config, overrides=overrides, environment=environment).settings


def load_configuration(
    *,
    data_dir: Path | None = None,
    config: Path | None = None,
    overrides: Mapping[str, tuple[str, object]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """The settings of this process and their origins; `ConfigurationError` with everything that is wrong.

    `overrides` are command-line options: key -> (name of the option, value). `environment` None: the process's.
    """
    variables = os.environ if environment is None else environment
    data = data_folder(variables, data_dir)
    reading = _Reading({}, {}, [])
    file = _chosen_file(config, variables, data)
    if file is not None:
        reading.take_file(file)
    reading.take_environment(variables)
    for key, (name, value) in (overrides or {}).items():
        reading.take(options()[tuple(key.split("."))], Given(value, name))
    settings = reading.assembled(data)
    reading.problems.extend(_contradictions(settings, reading.origins))
    if reading.problems:
        raise ConfigurationError(tuple(reading.problems))
    return Configuration(settings, file, {".".join(path): origin for path, origin in reading.origins.items()})


def child_environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with `PODIUM_*` variables that give a child process exactly these settings.

    The child reads no configuration file: an edit of it, good or bad, waits for the next `podium up`.
    """
    ours = {option.variable for option in options().values()} | set(SHORT_FORMS)
    ours |= {f"{variable}_FILE" for variable in ours}
    rest = {name: value for name, value in base.items() if name not in ours}
    values = {option.variable: as_text(value) for option, value in _values(settings)}
    return rest | values | {"PODIUM_HOME": str(settings.data.path.absolute()), "PODIUM_CONFIG": os.devnull}


@dataclass(slots=True)
class _Reading:
    """Values taken so far; later ones replace earlier ones."""

    values: dict[KeyPath, object]
    origins: dict[KeyPath, str]
    problems: list[str]

    def take_file(self, file: Path) -> None:
        given, problems = read_file(file, options(), REMOVED)
        self.problems.extend(problems)
        for path, value in given.items():
            self.take(options()[path], value)

    def take_environment(self, variables: Mapping[str, str]) -> None:
        assigned, problems = read_environment(variables, options().values(), REMOVED)
        self.problems.extend(problems)
        for one in assigned:
            accepts = one.option.accepts.hidden() if one.from_file else one.option.accepts
            try:
                self._keep(one.option, parse(accepts, one.text), one.origin)
            except Unacceptable as error:
                self._refuse(one.option.key, one.origin, error)

    def take(self, option: Option, given: Given) -> None:
        try:
            self._keep(option, convert(option.accepts, given.raw), given.origin)
        except Unacceptable as error:
            self._refuse(option.key, given.origin, error)

    def assembled(self, data: DataFolder) -> Settings:
        """The sections; one whose own checks fail is reported and stands at its defaults."""
        built: dict[str, Any] = {}
        for section in sections():
            try:
                built[section.attribute] = assemble(section.form, (section.name,), self.values)
            except (ValueError, PodiumError) as error:
                self.problems.append(self._located(section.name, str(error)))
        return Settings(data=data, **built)

    def _located(self, section: str, message: str) -> str:
        """A section's own complaint, with place and path when it begins with the name of a field."""
        first, _, rest = message.partition(" ")
        path = (section, first.strip("`:"))
        if path not in options():
            return f"{section}: {message}"
        return ": ".join(part for part in (self.origins.get(path, ""), ".".join(path), rest) if part)

    def _keep(self, option: Option, value: object, origin: str) -> None:
        self.values[option.path] = value
        self.origins[option.path] = origin

    def _refuse(self, key: str, origin: str, error: Unacceptable) -> None:
        self.problems.append(f"{origin}: {key}: {error}")


def _chosen_file(config: Path | None, variables: Mapping[str, str], data: DataFolder) -> Path | None:
    """The file that was named; else one that is simply there; else none."""
    named = variables.get("PODIUM_CONFIG")
    if config is not None or named:
        return config or Path(str(named)).expanduser()
    return next((path for path in (Path(FILE_NAME), data.path / FILE_NAME) if path.is_file()), None)


def _contradictions(settings: Settings, origins: Mapping[KeyPath, str]) -> Iterator[str]:
    """What is wrong between two sections, though each is right by itself."""
    if settings.server.port == settings.admin.port != 0:
        path = ("admin", "port") if ("admin", "port") in origins else ("gateway", "port")
        where = f"{origins[path]}: " if path in origins else ""
        yield f"{where}{'.'.join(path)}: gateway and admin API need two ports, got {settings.admin.port} for both"


def _described(option: Option, value: object) -> object:
    if option.accepts.secret and value:
        return "(set)"
    if value is None or isinstance(value, bool | int | float):
        return value
    return _PASSWORD_IN_URL.sub(r"\1***@", as_text(value))


def _values(settings: Settings) -> Iterator[tuple[Option, object]]:
    """Each option with its value."""
    for section in sections():
        for option in options_of(section.form, (section.name,)):
            value: object = getattr(settings, section.attribute)
            for name in option.path[1:]:
                value = getattr(value, name)
            yield option, value
