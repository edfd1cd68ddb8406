"""Flags that give everybody one variant: what they decide could as well stand in the code."""

from podium.core.flags import Flag

__all__ = ["only_variant"]


def only_variant(flag: Flag) -> str | None:
    """The one variant that a flag gives whatever the context is; None: it depends."""
    if not flag.enabled:
        return flag.off
    given = {flag.off} if flag.prerequisites else set()
    for rule in flag.rules:
        given |= {rule.variant} if rule.variant is not None else {one for one, share in rule.split.items() if share}
        if not rule.when:  # it decides for everybody: nothing after it is reached
            break
    else:
        given.add(flag.default)
    return given.pop() if len(given) == 1 else None
