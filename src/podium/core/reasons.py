"""The closed set of words that say how an exchange ended and why.

Error body, event, log line, metric label and console show the same word.
"""

from enum import StrEnum

__all__ = ["Fault", "Reason"]


class Fault(StrEnum):
    """Who has to act so that the exchange would succeed."""

    NOBODY = "nobody"
    CALLER = "caller"
    PODIUM = "podium"
    UPSTREAM = "upstream"


class Reason(StrEnum):
    """How an exchange ended."""

    OK = "ok"

    # The caller's.
    INVALID_REQUEST = "invalid_request"
    INVALID_JSON = "invalid_json"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    REQUEST_TOO_LARGE = "request_too_large"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    REQUEST_TIMEOUT = "request_timeout"
    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MISSING_API_KEY = "missing_api_key"
    INVALID_API_KEY = "invalid_api_key"
    EXPIRED_API_KEY = "expired_api_key"
    REVOKED_API_KEY = "revoked_api_key"
    TENANT_SUSPENDED = "tenant_suspended"
    ENDPOINT_NOT_ALLOWED = "endpoint_not_allowed"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    EXCHANGE_NOT_FOUND = "exchange_not_found"
    ENDPOINT_NOT_SUPPORTED = "endpoint_not_supported"
    REQUESTS_LIMITED = "requests_limited"
    TOKENS_LIMITED = "tokens_limited"
    CONCURRENCY_LIMITED = "concurrency_limited"
    TENANT_QUEUE_FULL = "tenant_queue_full"
    BUDGET_EXHAUSTED = "budget_exhausted"
    CLIENT_GONE = "client_gone"

    # Ours.
    INTERNAL_ERROR = "internal_error"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    JOURNAL_UNAVAILABLE = "journal_unavailable"
    NO_BACKEND = "no_backend"
    OVERLOADED = "overloaded"
    CANNOT_START_IN_TIME = "cannot_start_in_time"

    # The upstream's.
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_BUSY = "upstream_busy"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_BROKEN = "upstream_broken"
    UPSTREAM_INVALID = "upstream_invalid"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    UPSTREAM_REJECTED = "upstream_rejected"
