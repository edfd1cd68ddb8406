"""The stages of an exchange that decide at once: values in, a decision kept on the exchange, or an error.

The decisions themselves are on floor 1; here they meet the exchange and the snapshot.
"""

from podium.core.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.snapshot import KeyEntry
from podium.core.tags import merge_tags
from podium.gateway.faces import Face, Request
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.pool import Pool
from podium.gateway.ports import Caller
from podium.gateway.world import Principal, World
from podium.identity.authenticate import authenticate
from podium.identity.keys import digest_secret, parse_api_key

__all__ = ["check_head", "choose_pool", "identify", "model_not_found", "permit", "permit_endpoint", "read"]

_MAX_USER_CHARACTERS = 128
_TIMEOUT_HEADER = b"x-podium-timeout-ms"
_TAGS_HEADER = b"x-podium-tags"
_MAX_TIMEOUT_DIGITS = 8
_KEY_HINT = "Send `Authorization: Bearer pk_…`; `podium keys create` makes a key."
_KEY_MESSAGES = {
    Reason.INVALID_API_KEY: "The API key is not known.",
    Reason.EXPIRED_API_KEY: "The API key has expired.",
    Reason.REVOKED_API_KEY: "The API key has been revoked.",
}


def identify(
    exchange: Exchange, authorization: bytes | None, world: World, *, pepper: bytes, unix_s: float
) -> Principal:
    """Who calls; Unauthenticated when that cannot be told."""
    if not authorization:
        raise Unauthenticated("No API key was sent.", reason=Reason.MISSING_API_KEY, hint=_KEY_HINT)
    principal = world.remembered(authorization, unix_s)
    if principal is None:
        principal = world.principal(_proven_key(authorization, world, pepper=pepper, unix_s=unix_s))
        world.remember(authorization, principal)
    exchange.key_id = principal.entry.id
    exchange.tenant = principal.entry.tenant
    return principal


def _proven_key(authorization: bytes, world: World, *, pepper: bytes, unix_s: float) -> KeyEntry:
    scheme, _, token = authorization.partition(b" ")
    key = parse_api_key(token.strip().decode("latin-1")) if scheme.lower() == b"bearer" else None
    if key is None:
        raise Unauthenticated("The API key is not of the form pk_….", hint=_KEY_HINT)
    entry = world.key(key.id)
    reason = authenticate(entry, digest_secret(pepper, key.secret), unix_s)
    if reason is not Reason.OK or entry is None:
        raise Unauthenticated(_KEY_MESSAGES[reason], reason=reason, hint=_KEY_HINT)
    return entry


def permit_endpoint(principal: Principal, endpoint: str) -> None:
    """Forbidden when the key may not use the endpoint at all. Who may chat may do so in either dialect."""
    if endpoint in principal.endpoints:
        return
    reason = principal.permissions.permit(endpoint, "")
    if reason is not Reason.OK and endpoint == "messages":
        reason = principal.permissions.permit("chat.completions", "")
    if reason is Reason.TENANT_SUSPENDED:
        raise Forbidden("The tenant of this API key is suspended.", reason=reason)
    if reason is not Reason.OK:
        raise Forbidden(f"This API key may not use the endpoint {endpoint}.", reason=reason)
    principal.endpoints.add(endpoint)


def check_head(exchange: Exchange, caller: Caller, principal: Principal) -> None:
    """What the headers say of the call; InvalidRequest, UnsupportedMediaType."""
    exchange.tags = principal.entry.tags
    given = caller.headers.get(_TAGS_HEADER)
    if given is not None:
        exchange.tags = _tags(exchange.tags, given)
    wanted_ms = caller.headers.get(_TIMEOUT_HEADER)
    if wanted_ms is not None:
        exchange.timeout_s = _timeout_s(wanted_ms)
    content_type = caller.headers.get(b"content-type")
    if content_type is not None and not content_type.lower().startswith(b"application/json"):
        raise UnsupportedMediaType(
            "The content type must be application/json.", hint='curl: -H "content-type: application/json"'
        )


def read(exchange: Exchange, body: bytes, face: Face) -> Request:
    """What decisions need of the body; InvalidRequest."""
    exchange.bytes_in = len(body)
    request = face.read_request(body)
    exchange.stream = request.stream is True and exchange.endpoint != "embeddings"
    exchange.user = (request.safety_identifier or request.user or "")[:_MAX_USER_CHARACTERS]
    return request


def _tags(own: str, given: bytes) -> str:
    try:
        return merge_tags(own, given.decode("latin-1"))
    except ValueError as error:
        raise InvalidRequest(f"`{_TAGS_HEADER.decode()}`: {error}.") from None


def _timeout_s(wanted_ms: bytes) -> float:
    text = wanted_ms.strip()
    if not (text.isdigit() and 0 < len(text) <= _MAX_TIMEOUT_DIGITS and int(text)):
        raise InvalidRequest(f"`{_TIMEOUT_HEADER.decode()}` must be a whole number of milliseconds above 0.")
    return int(text) / 1000


def permit(exchange: Exchange, principal: Principal, request: Request, world: World) -> None:
    """Find the model to serve; NotFound, or InvalidRequest when it does not serve this endpoint.

    A model that the key may not use looks the same as one that does not exist: names are not given away.
    """
    permitted = principal.permitted.get((exchange.endpoint, request.model))
    if permitted is not None:
        exchange.model = permitted
        return
    found = world.model(request.model)
    may_use = principal.permissions.may_use
    if found is None or not (may_use(found[0]) or may_use(request.model)):
        raise model_not_found(request.model)
    exchange.model, model = found
    if not world.serves(exchange.model, exchange.endpoint):
        raise InvalidRequest(
            f"The model {request.model!r} does not serve {exchange.endpoint}; it serves {', '.join(model.endpoints)}.",
            reason=Reason.ENDPOINT_NOT_SUPPORTED,
            parameter="model",
        )
    principal.permit(exchange.endpoint, request.model, exchange.model)


def model_not_found(name: str) -> NotFound:
    """The error for a model that this caller cannot have."""
    return NotFound(
        f"The model {name[:128]!r} does not exist, or this API key may not use it.",
        reason=Reason.MODEL_NOT_FOUND,
        parameter="model",
    )


def choose_pool(exchange: Exchange, world: World, caller: Caller, principal: Principal, counts: FlagCounts) -> Pool:
    """The version that serves; Unavailable when it has no backend that could be called.

    Forbidden, InvalidRequest: the caller names a version of a model under a rollout, and may not, or none of it.
    """
    rollout = world.rollouts.get(exchange.model)
    pool = world.pool(exchange.model) if rollout is None else rollout.choose(exchange, caller, principal, counts)
    if pool is None or not pool.backends:
        raise Unavailable(
            f"No backend serves the model {exchange.model!r} right now.",
            reason=Reason.NO_BACKEND,
            retry_after_s=5.0,
            hint="Is the provider's secret set, and is its worker running? See /readyz.",
        )
    exchange.version = pool.label
    return pool
