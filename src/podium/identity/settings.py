"""What an operator can set about who is who."""

import re
from dataclasses import dataclass, field

__all__ = ["IdentitySettings"]

_ROOT = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """The secret that all processes of one Podium share."""

    root_secret: str | None = field(
        default=None,
        repr=False,
        metadata={
            "help": "64 hex digits, the root of every keyed hash, the same on all machines; better in a file"
            " (`PODIUM_IDENTITY_ROOT_SECRET_FILE`). Without it, `secret.key` in the data folder, which the first"
            " start makes.",
            "secret": True,
        },
    )

    def __post_init__(self) -> None:
        if self.root_secret is not None and not _ROOT.match(self.root_secret):
            raise ValueError("`root_secret` is 64 hex digits")
