"""May they: whether a proven key reaches this endpoint and this model."""

import re
from functools import lru_cache

from podium.core.reasons import Reason
from podium.core.resources import Tenant
from podium.core.snapshot import KeyEntry

__all__ = ["CompiledKey", "NamePatterns", "name_patterns", "permit"]

_SHARED_PATTERNS = 4096


class NamePatterns:
    """Names and patterns in which `*` stands for any run of characters; upper and lower case differ.

    A match takes time linear in the name, whatever the patterns: the caller chooses the name.
    """

    __slots__ = ("_any", "_exact", "_search")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        wild = [pattern for pattern in patterns if "*" in pattern]
        self._any = any(not pattern.strip("*") for pattern in wild)
        self._exact = frozenset(patterns) - frozenset(wild)
        self._search = re.compile("|".join(map(_translate, wild)), re.DOTALL).match if wild and not self._any else None

    def matches(self, name: str) -> bool:
        """True when at least one pattern covers the whole name."""
        if self._any or name in self._exact:
            return True
        return self._search is not None and self._search(name) is not None


def _translate(pattern: str) -> str:
    head, *middle, tail = map(re.escape, pattern.split("*"))
    # Atomic groups: the leftmost place of each middle part is as good as any later one, so nothing backtracks.
    return head + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{tail}\\Z"


@lru_cache(maxsize=_SHARED_PATTERNS)
def name_patterns(patterns: tuple[str, ...]) -> NamePatterns:
    """Compiled patterns, shared between the many keys that have the same ones."""
    return NamePatterns(patterns)


class CompiledKey:
    """What one key may do, ready to be asked. Build it at the key's first use after a snapshot."""

    __slots__ = ("_endpoints", "_models", "_suspended", "_tenant_models", "entry", "tenant")

    def __init__(self, entry: KeyEntry, tenant: Tenant | None) -> None:
        self.entry = entry
        self.tenant = tenant
        self._suspended = tenant is None or tenant.suspended
        self._endpoints = name_patterns(entry.endpoints)
        self._models = name_patterns(entry.models)
        self._tenant_models = name_patterns(tenant.models if tenant is not None else ())

    def permit(self, endpoint: str, model: str) -> Reason:
        """OK, or why not. `model` "" means that the endpoint is not about one model."""
        if self._suspended:
            return Reason.TENANT_SUSPENDED
        if not self._endpoints.matches(endpoint):
            return Reason.ENDPOINT_NOT_ALLOWED
        if model and not self.may_use(model):
            return Reason.MODEL_NOT_ALLOWED
        return Reason.OK

    def may_use(self, model: str) -> bool:
        """True when key and tenant both cover the model's name; filters the list of models."""
        return self._models.matches(model) and self._tenant_models.matches(model)


def permit(entry: KeyEntry, tenant: Tenant | None, endpoint: str, model: str) -> Reason:
    """Whether the key may call `endpoint` with `model`; see `CompiledKey.permit`.

    `tenant` None: the key's tenant is not declared (any more), which counts as suspended.
    """
    return CompiledKey(entry, tenant).permit(endpoint, model)
