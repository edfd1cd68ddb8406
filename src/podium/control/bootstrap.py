"""The first start: a secret, a state to begin with, and a key to get in. Safe to run again, and by two at once."""

import contextlib
import os
import re
from collections.abc import Iterable

import msgspec
import structlog

from podium.control.keys import Keys, NewKey, is_live
from podium.control.private_file import create_private_file, read_private_file, replace_private_file
from podium.control.resources import Resources
from podium.core.clock import Clock
from podium.core.errors import Conflict, NotFound, OperatorError
from podium.core.layout import DataFolder
from podium.core.resources import BackendSpec, Model, Price, Provider, Resource, Tenant, Version
from podium.identity.keys import ApiKey, new_api_key, parse_api_key

__all__ = ["AUTHOR", "AdminKey", "declare_defaults", "default_resources", "ensure_admin_key", "ensure_root_secret"]

_log = structlog.get_logger("podium.control.bootstrap")

AUTHOR = "bootstrap"
_ROOT = re.compile(r"[0-9a-f]{64}\Z")
_OTHERS = 0o077


class AdminKey(msgspec.Struct, frozen=True):
    """The first admin key; `text` is to be shown once."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"AdminKey(id={self.id!r})"


def ensure_root_secret(folder: DataFolder) -> bytes:
    """The 32 bytes of `<data>/secret.key`, which is made when it is not there. OperatorError: it is no such file."""
    path = folder.secret_file
    text = read_private_file(path)
    if text is None:
        create_private_file(path, os.urandom(32).hex())
        text = read_private_file(path)  # ours, or that of a process that was faster
    if text is None or not _ROOT.match(text):
        raise OperatorError(
            f"{path} does not hold 64 hex digits",
            hint="restore it from a backup; with a new one every API key and snapshot is void",
        )
    if path.stat().st_mode & _OTHERS:
        _log.warning("the root secret can be read by others", path=str(path), hint=f"chmod 600 {path}")
    return bytes.fromhex(text)


async def declare_defaults(resources: Resources) -> bool:
    """Whether the defaults were declared: only when nothing ever was, so that nothing deleted comes back."""
    if await resources.newest_revision() > 0:
        return False
    try:
        await resources.apply(default_resources(), author=AUTHOR, message="first start", expected_revision=0)
    except Conflict:  # another process was faster
        return False
    return True


def default_resources() -> tuple[Resource, ...]:
    """A tenant, the models that run on this machine, and what the well-known models cost."""
    from podium.economics.seed import seed_prices  # noqa: PLC0415 - a table that only the first start reads

    return (
        Resource("Tenant", "default", Tenant(display_name="Default")),
        Resource("Provider", "local", Provider(protocol="local")),
        Resource("Version", "smollm2-1", Version(backends=(BackendSpec(provider="local", model="smollm2"),))),
        Resource("Version", "minilm-1", Version(backends=(BackendSpec(provider="local", model="minilm"),))),
        Resource("Model", "smollm2", Model(version="smollm2-1", aliases=("default",))),
        Resource("Model", "minilm", Model(version="minilm-1", endpoints=("embeddings",))),
        *_prices(seed_prices().items()),
    )


def _prices(seeded: Iterable[tuple[str, Price]]) -> Iterable[Resource]:
    free = Price(provider="local", model="*", input_usd_per_million="0", output_usd_per_million="0")
    prices = {**dict(seeded), "local": free}
    return (Resource("Price", name, price) for name, price in prices.items())


async def ensure_admin_key(keys: Keys, resources: Resources, folder: DataFolder, clock: Clock) -> AdminKey | None:
    """The admin key when this call made it, None when there was one that works.

    1. A live admin key in the database: nothing to do.
    2. The clear text goes to `<data>/admin.key` before the key goes to the database: a crash in between
       leaves a file whose key is no good yet, and the next start brings that very key in. The other way
       round, the crash would leave a key that nobody knows.
    3. Of two processes one makes the file; the other reads it and finds the key inserted already.
    """
    now = clock.unix_ns() / 1e9
    with contextlib.suppress(OperatorError):  # a file that cannot be read matters only where it is needed
        on_disk = parse_api_key(read_private_file(folder.admin_key_file) or "")
        if on_disk is not None and await _is_admin(keys, on_disk.id, now):
            return None  # as at most starts, which need not look at a million keys
    records = await keys.all()
    if any(record.entry.admin and is_live(record.entry, now) for record in records):
        return None
    key = _admin_key_on_disk(folder, used={record.entry.id for record in records})
    new = NewKey(tenant=await _some_tenant(resources), name="admin", admin=True)
    try:
        await keys.create(new, created_by=AUTHOR, key=key)
    except Conflict:
        return None
    return AdminKey(key.id, key.text)


async def _is_admin(keys: Keys, key_id: str, now: float) -> bool:
    try:
        entry = (await keys.get(key_id)).entry
    except NotFound:
        return False
    return entry.admin and is_live(entry, now)


def _admin_key_on_disk(folder: DataFolder, used: set[str]) -> ApiKey:
    path = folder.admin_key_file
    fresh = new_api_key()
    if create_private_file(path, fresh.text):
        return fresh
    found = parse_api_key(read_private_file(path) or "")
    if found is None:
        raise OperatorError(f"{path} does not hold an API key", hint="move it away and start again")
    if found.id in used:  # the key of this file was revoked or has expired
        replace_private_file(path, fresh.text)
        return fresh
    return found


async def _some_tenant(resources: Resources) -> str:
    _, tenants = await resources.all("Tenant")
    names = [tenant.name for tenant in tenants]
    if not names:
        raise OperatorError("there is no tenant that an admin key could belong to", hint="restore the database")
    return "default" if "default" in names else names[0]
