"""Each provider's errors, in its own shape.

A row of a table is the HTTP status, the provider's word for the kind, its code if it has one, and a message.
"""

import html
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from podium.testing.upstream.behaviours import Trouble
from podium.testing.upstream.protocols import UpstreamProtocol
from podium.testing.upstream.wire import Answer, Form, Headers, Part, Piece, encode, json_answer

__all__ = ["error_answer", "error_event"]


class _Row(NamedTuple):
    status: int
    kind: str
    code: str | None
    message: str


_Table = dict[Trouble, _Row]
_WRONG = "invalid_request_error"

_OPENAI: _Table = {
    Trouble.BAD_REQUEST: _Row(400, _WRONG, None, "The request is malformed."),
    Trouble.UNAUTHORIZED: _Row(401, _WRONG, "invalid_api_key", "Incorrect API key provided."),
    Trouble.FORBIDDEN: _Row(
        403, "request_forbidden", "unsupported_country_region_territory", "Country, region, or territory not supported"
    ),
    Trouble.NOT_FOUND: _Row(
        404, _WRONG, "model_not_found", "The model `{model}` does not exist or you do not have access to it."
    ),
    Trouble.TOO_LARGE: _Row(413, _WRONG, "request_too_large", "The request is larger than the maximum size."),
    Trouble.RATE_LIMITED: _Row(429, "requests", "rate_limit_exceeded", "Rate limit reached for {model}."),
    Trouble.QUOTA_EXHAUSTED: _Row(
        429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan."
    ),
    Trouble.SERVER_ERROR: _Row(500, "server_error", None, "The server had an error while processing your request."),
    Trouble.UNAVAILABLE: _Row(503, "server_error", None, "The service is temporarily unavailable."),
    Trouble.OVERLOADED: _Row(503, "server_error", "overloaded", "The engine is currently overloaded."),
    Trouble.CONTEXT_TOO_LONG: _Row(
        400, _WRONG, "context_length_exceeded", "This model's maximum context length is 128000 tokens."
    ),
    Trouble.CONTENT_REFUSED: _Row(400, _WRONG, "content_policy_violation", "Your request was rejected."),
}
_AZURE: _Table = _OPENAI | {
    Trouble.UNAUTHORIZED: _Row(401, "", "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    Trouble.NOT_FOUND: _Row(404, "", "DeploymentNotFound", "The API deployment for this resource does not exist."),
    Trouble.RATE_LIMITED: _Row(429, "", "429", "Requests have exceeded the call rate limit of your pricing tier."),
    Trouble.QUOTA_EXHAUSTED: _Row(429, "", "429", "Requests have exceeded the token quota of your pricing tier."),
    Trouble.CONTENT_REFUSED: _Row(
        400,
        "",
        "content_filter",
        "The response was filtered due to the prompt triggering the content management policy.",
    ),
}
_ANTHROPIC: _Table = {
    Trouble.BAD_REQUEST: _Row(400, _WRONG, None, "messages: Input should be a valid list"),
    Trouble.UNAUTHORIZED: _Row(401, "authentication_error", None, "invalid x-api-key"),
    Trouble.FORBIDDEN: _Row(403, "permission_error", None, "Your API key does not have permission to use the model."),
    Trouble.NOT_FOUND: _Row(404, "not_found_error", None, "model: {model}"),
    Trouble.TOO_LARGE: _Row(413, "request_too_large", None, "Request exceeds the maximum size"),
    Trouble.RATE_LIMITED: _Row(
        429, "rate_limit_error", None, "This request would exceed your organization's rate limit."
    ),
    Trouble.QUOTA_EXHAUSTED: _Row(429, "rate_limit_error", None, "This request would exceed your monthly limit."),
    Trouble.SERVER_ERROR: _Row(500, "api_error", None, "Internal server error"),
    Trouble.UNAVAILABLE: _Row(503, "api_error", None, "Service unavailable"),
    Trouble.OVERLOADED: _Row(529, "overloaded_error", None, "Overloaded"),
    Trouble.CONTEXT_TOO_LONG: _Row(400, _WRONG, None, "prompt is too long: 208310 tokens > 200000 maximum"),
    Trouble.CONTENT_REFUSED: _Row(400, _WRONG, None, "Output blocked by content filtering policy"),
}
_INVALID, _EXHAUSTED = "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"
_GEMINI: _Table = {
    Trouble.BAD_REQUEST: _Row(400, _INVALID, None, "Request contains an invalid argument."),
    Trouble.UNAUTHORIZED: _Row(400, _INVALID, "API_KEY_INVALID", "API key not valid. Please pass a valid API key."),
    Trouble.FORBIDDEN: _Row(403, "PERMISSION_DENIED", None, "The caller does not have permission"),
    Trouble.NOT_FOUND: _Row(404, "NOT_FOUND", None, "models/{model} is not found for API version v1beta."),
    Trouble.TOO_LARGE: _Row(400, _INVALID, None, "Request payload size exceeds the limit: 20971520 bytes."),
    Trouble.RATE_LIMITED: _Row(429, _EXHAUSTED, None, "You exceeded your current quota."),
    Trouble.QUOTA_EXHAUSTED: _Row(429, _EXHAUSTED, None, "You exceeded your current quota, please check your plan."),
    Trouble.SERVER_ERROR: _Row(500, "INTERNAL", None, "An internal error has occurred."),
    Trouble.UNAVAILABLE: _Row(503, "UNAVAILABLE", None, "The service is currently unavailable."),
    Trouble.OVERLOADED: _Row(503, "UNAVAILABLE", None, "The model is overloaded. Please try again later."),
    Trouble.CONTEXT_TOO_LONG: _Row(
        400, _INVALID, None, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    ),
}
_VALIDATION = "ValidationException"
_BEDROCK: _Table = {
    Trouble.BAD_REQUEST: _Row(400, _VALIDATION, None, "The request is invalid."),
    Trouble.UNAUTHORIZED: _Row(
        403, "UnrecognizedClientException", None, "The security token included in the request is invalid."
    ),
    Trouble.FORBIDDEN: _Row(
        403, "AccessDeniedException", None, "You don't have access to the model with the specified model ID."
    ),
    Trouble.NOT_FOUND: _Row(404, "ResourceNotFoundException", None, "Could not resolve the model {model}."),
    Trouble.TOO_LARGE: _Row(413, "RequestEntityTooLargeException", None, "The request body is too large."),
    Trouble.RATE_LIMITED: _Row(429, "ThrottlingException", None, "Too many requests, please wait before trying again."),
    Trouble.QUOTA_EXHAUSTED: _Row(429, "ThrottlingException", None, "Too many tokens per day, please wait."),
    Trouble.SERVER_ERROR: _Row(500, "InternalServerException", None, "The system encountered an unexpected error."),
    Trouble.UNAVAILABLE: _Row(503, "ServiceUnavailableException", None, "Bedrock is unable to process your request."),
    Trouble.OVERLOADED: _Row(503, "ServiceUnavailableException", None, "Too many connections, please wait."),
    Trouble.CONTEXT_TOO_LONG: _Row(400, _VALIDATION, None, "Input is too long for requested model."),
}
_TABLES = {
    UpstreamProtocol.OPENAI: _OPENAI,
    UpstreamProtocol.AZURE: _AZURE,
    UpstreamProtocol.ANTHROPIC: _ANTHROPIC,
    UpstreamProtocol.GEMINI: _GEMINI,
    UpstreamProtocol.BEDROCK: _BEDROCK,
}
_STREAM_TROUBLE = {
    UpstreamProtocol.ANTHROPIC: Trouble.OVERLOADED,
    UpstreamProtocol.GEMINI: Trouble.OVERLOADED,
}
_GOOGLE_TYPE = "type.googleapis.com/google.rpc."
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def error_answer(
    protocol: UpstreamProtocol,
    trouble: Trouble,
    *,
    model: str = "",
    message: str | None = None,
    parameter: str | None = None,
    retry_after_s: int | None = None,
) -> Answer:
    """The answer to a request that goes wrong. `message` replaces the table's."""
    if trouble is Trouble.BAD_GATEWAY:
        return Answer(502, Form.RAW, "text/html", (Piece(Part.WHOLE, "", _BAD_GATEWAY),))
    row = _TABLES[protocol][trouble]
    text = message or row.message.format(model=html.escape(model))
    headers = _hints(protocol, trouble, retry_after_s)
    if protocol is UpstreamProtocol.BEDROCK:
        headers += (("x-amzn-errortype", f"{row.kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"),)
    return json_answer(_body(protocol, trouble, row, text, parameter, retry_after_s), headers, status=row.status)


def error_event(protocol: UpstreamProtocol) -> Piece:
    """An error inside a stream."""
    if protocol is UpstreamProtocol.BEDROCK:
        value = {"message": "The model stream was interrupted.", "originalStatusCode": 500}
        return Piece(Part.END, "modelStreamErrorException", encode(value))
    trouble = _STREAM_TROUBLE.get(protocol, Trouble.SERVER_ERROR)
    row = _TABLES[protocol][trouble]
    name = "error" if protocol is UpstreamProtocol.ANTHROPIC else ""
    return Piece(Part.END, name, encode(_body(protocol, trouble, row, row.message, None, None)))


def _body(
    protocol: UpstreamProtocol, trouble: Trouble, row: _Row, text: str, parameter: str | None, retry_after_s: int | None
) -> dict[str, Any]:
    if protocol is UpstreamProtocol.ANTHROPIC:
        told = {"details": None, "type": row.kind, "message": text}
        return {"type": "error", "error": told, "request_id": "req_simulated"}
    if protocol is UpstreamProtocol.GEMINI:
        details = _google_details(trouble, row, retry_after_s)
        error = {"code": row.status, "message": text, "status": row.kind}
        return {"error": error | ({"details": details} if details else {})}
    if protocol is UpstreamProtocol.BEDROCK:
        return {"message": text}
    if not row.kind:
        return {"error": {"code": row.code, "message": text} | _azure_filter(trouble)}
    return {"error": {"message": text, "type": row.kind, "param": parameter, "code": row.code}}


def _azure_filter(trouble: Trouble) -> dict[str, Any]:
    if trouble is not Trouble.CONTENT_REFUSED:
        return {}
    result = {"violence": {"filtered": True, "severity": "high"}, "hate": {"filtered": False, "severity": "safe"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
    return {"type": None, "param": "prompt", "status": 400, "innererror": inner}


def _google_details(trouble: Trouble, row: _Row, retry_after_s: int | None) -> list[dict[str, Any]]:
    if row.code:
        return [{"@type": f"{_GOOGLE_TYPE}ErrorInfo", "reason": row.code, "domain": "googleapis.com"}]
    if trouble is not Trouble.RATE_LIMITED:
        return []
    quota = {"quotaMetric": "generativelanguage.googleapis.com/generate_requests", "quotaValue": "10"}
    details: list[dict[str, Any]] = [{"@type": f"{_GOOGLE_TYPE}QuotaFailure", "violations": [quota]}]
    if retry_after_s is not None:
        details.append({"@type": f"{_GOOGLE_TYPE}RetryInfo", "retryDelay": f"{retry_after_s}s"})
    return details


def _hints(protocol: UpstreamProtocol, trouble: Trouble, retry_after_s: int | None) -> Headers:
    """When to come back, in all the headers in which the provider says it."""
    if retry_after_s is None:
        return ()
    hints: Headers = (("retry-after", str(retry_after_s)),)
    if trouble is not Trouble.RATE_LIMITED:
        return hints
    if protocol in {UpstreamProtocol.OPENAI, UpstreamProtocol.AZURE}:
        hints += (
            ("retry-after-ms", str(retry_after_s * 1000)),
            ("x-ratelimit-limit-requests", "10"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", f"{retry_after_s}s"),
        )
    if protocol is UpstreamProtocol.ANTHROPIC:
        reset = datetime.now(UTC) + timedelta(seconds=retry_after_s)
        hints += (
            ("anthropic-ratelimit-requests-limit", "10"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", f"{reset:%Y-%m-%dT%H:%M:%SZ}"),
        )
    return hints
