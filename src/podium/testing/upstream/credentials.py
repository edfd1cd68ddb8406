"""Whether a request says who it is in the way that the provider asks for. Any key will do.

Amazon's signatures are computed again when they name `AWS_KEY`; for other access keys their form has to do.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

from podium.testing.upstream.behaviours import Trouble
from podium.testing.upstream.protocols import Route, UpstreamProtocol
from podium.testing.upstream.refusals import Refused

__all__ = ["AWS_KEY", "AWS_SECRET", "check_credentials"]

AWS_KEY = "AKIASIMULATED0000000"
AWS_SECRET = "simulated/secret+key"  # noqa: S105 - opens nothing

_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>\d{8}/(?P<region>[a-z0-9-]+)/bedrock/aws4_request), *"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
_BEARER = re.compile(r"Bearer \S+")


def check_credentials(route: Route, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
    """Refused when there are none, or not in the provider's way."""
    bearer = _BEARER.fullmatch(headers.get("authorization", "")) is not None
    match route.protocol:
        case UpstreamProtocol.OPENAI:
            good = bearer
        case UpstreamProtocol.AZURE:
            good = bearer or bool(headers.get("api-key"))
        case UpstreamProtocol.GEMINI:
            good = bearer or bool(headers.get("x-goog-api-key") or (route.query or {}).get("key"))
        case UpstreamProtocol.ANTHROPIC:
            good = bearer or bool(headers.get("x-api-key"))
            if good and not headers.get("anthropic-version"):
                raise Refused("anthropic-version: header is required")
        case UpstreamProtocol.BEDROCK:
            good = bearer or _signed(method, target, headers, body)
    if not good:
        raise Refused("", trouble=Trouble.UNAUTHORIZED)


def _signed(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bool:
    found = _SIGNATURE.fullmatch(headers.get("authorization", ""))
    if found is None or "host" not in found["headers"].split(";") or "x-amz-date" not in headers:
        return False
    if found["key"] != AWS_KEY:
        return True
    request = _canonical_request(method, target, headers, found["headers"], body)
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{found['scope']}\n{digest}"
    key = f"AWS4{AWS_SECRET}".encode()
    for word in found["scope"].split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    if not hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), found["signature"]):
        message = "The request signature we calculated does not match the signature you provided."
        raise Refused(message, trouble=Trouble.UNAUTHORIZED)
    return True


def _canonical_request(method: str, target: str, headers: Mapping[str, str], signed: str, body: bytes) -> str:
    """The path is encoded once more than it was sent, as everywhere but in S3; the query is sorted."""
    path, _, query = target.partition("?")
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed.split(";"))
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join((method, quote(path, safe="/~"), "&".join(sorted(query.split("&"))), lines, signed, digest))
