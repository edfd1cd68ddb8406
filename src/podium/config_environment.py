"""`PODIUM_*` variables into raw values. Strict: a variable that no setting has is a problem."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from podium.config_options import KeyPath, Option
from podium.config_values import closest

__all__ = ["OTHER_VARIABLES", "SHORT_FORMS", "Assigned", "read_environment"]

PREFIX = "PODIUM_"

# Short names of settings that are set often.
SHORT_FORMS: dict[str, KeyPath] = {
    "PODIUM_HOST": ("gateway", "host"),
    "PODIUM_PORT": ("gateway", "port"),
    "PODIUM_GATEWAYS": ("gateway", "processes"),
    "PODIUM_ADMIN_PORT": ("admin", "port"),
    "PODIUM_MODELS_DIR": ("engine", "models_dir"),
}

# Variables that are not settings of a process, and what they do.
OTHER_VARIABLES: dict[str, str] = {
    "PODIUM_HOME": "The data folder, as `--data-dir`; default `.podium`.",
    "PODIUM_CONFIG": "The configuration file, as `--config`.",
    "PODIUM_URL": "Where `podium chat` and `podium models` find the gateway, e.g. `http://127.0.0.1:8080`.",
    "PODIUM_ADMIN_URL": "Where the admin commands find the control process, e.g. `http://127.0.0.1:8081`.",
    "PODIUM_API_KEY": "The key that commands call with; default: the one in `<data>/admin.key`.",
    "PODIUM_ENGINE": "Set by `podium up` for its gateways: where they hear of workers of registered versions.",
    "PODIUM_WORKERS": "Set by `podium up` for its children: the workers' addresses, as JSON.",
    "PODIUM_TRACEBACK": "`1`: an unexpected error prints its traceback.",
}

# Kubernetes sets these in each pod that shares a namespace with a service called `podium` or `podium-...`
# (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
_SERVICE_LINK = re.compile(
    r"PODIUM(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")
_LARGEST_FILE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Assigned:
    """A setting's text and the variable that holds it; `from_file`: the text stood in a file, and is not shown."""

    option: Option
    text: str
    origin: str
    from_file: bool = False


def read_environment(
    environment: Mapping[str, str], options: Iterable[Option], removed: Mapping[str, str]
) -> tuple[list[Assigned], list[str]]:
    """What the environment sets, in alphabetical order of the variables, and every problem that it has."""
    names = _names(options)
    assigned: dict[str, Assigned] = {}
    problems: list[str] = []
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        if _is_none_of_ours(variable, environment[variable]):
            continue
        try:
            found = _assigned(variable, environment[variable], names, removed)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
            continue
        earlier = assigned.setdefault(found.option.key, found)
        if earlier is not found and earlier.text != found.text:
            problems.append(f"{variable}: {found.option.key} is also set by {earlier.origin}, to another value")
    return list(assigned.values()), problems


def _names(options: Iterable[Option]) -> dict[str, Option]:
    by_path = {option.path: option for option in options}
    names = {option.variable: option for option in by_path.values()}
    return names | {short: by_path[path] for short, path in SHORT_FORMS.items() if path in by_path}


def _is_none_of_ours(variable: str, value: str) -> bool:
    if variable in OTHER_VARIABLES or _SERVICE_LINK.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and _SERVICE_LINK_VALUE.match(value) is not None


def _assigned(variable: str, value: str, names: Mapping[str, Option], removed: Mapping[str, str]) -> Assigned:
    if variable in names:
        return Assigned(names[variable], value, variable)
    stem = variable.removesuffix("_FILE")
    if stem != variable and stem in names:
        return Assigned(names[stem], _content(Path(value)), variable, from_file=True)
    for key, instead in removed.items():
        if variable == PREFIX + key.replace(".", "_").upper():
            raise ValueError(f"{key} is no longer a setting: {instead}")
    raise ValueError("unknown variable" + closest(variable, [*names, *OTHER_VARIABLES]))


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > _LARGEST_FILE_BYTES:
        raise ValueError(f"{path} is larger than {_LARGEST_FILE_BYTES >> 10} KiB")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
