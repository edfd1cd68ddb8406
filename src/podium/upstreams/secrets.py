"""The secrets of a provider, read from where its spec says they are."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from podium.core.errors import OperatorError
from podium.core.resources import Provider, SecretRef

__all__ = ["Secrets", "read_secrets"]


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an account proves itself with; None: not declared."""

    api_key: str | None = field(default=None, repr=False)
    aws_access_key_id: str | None = field(default=None, repr=False)
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)


def read_secrets(spec: Provider) -> Secrets:
    """All secrets that a spec names; OperatorError when one is missing or empty."""
    api_key = _read(spec.api_key, "the provider's API key")
    if spec.aws is None:
        return Secrets(api_key)
    return Secrets(
        api_key,
        _read(spec.aws.access_key_id, "an AWS access key's id"),
        _read(spec.aws.secret_access_key, "an AWS secret access key"),
        _read(spec.aws.session_token, "an AWS session token"),
    )


def _read(reference: SecretRef | None, what: str) -> str | None:
    if reference is None:
        return None
    if reference.env is not None:
        value = os.environ.get(reference.env, "")
        where = f"environment variable {reference.env}"
    else:
        path = Path(reference.file or "")
        where = f"file {path}"
        try:
            value = path.read_text().strip()
        except OSError as error:
            raise OperatorError(f"The {where} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            raise OperatorError(f"The {where} holds no text.") from None
    if not value:
        raise OperatorError(f"The {where} is empty or missing.", hint=f"It holds {what}.")
    return value
