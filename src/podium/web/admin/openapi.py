"""The API's description of itself."""

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.enums import MediaType
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIMediaType,
    Operation,
    Reference,
    RequestBody,
    SecurityScheme,
    Tag,
)

from podium.core.resources import SPECS
from podium.web.admin.errors import ErrorAnswer

__all__ = ["PATH", "DocumentsOperation", "config", "describe", "errors"]

PATH = "/admin/v1"

_EXAMPLE = """\
kind: Provider
name: openai
spec:
  protocol: openai
  base_url: https://api.openai.com/v1
  api_key: {env: OPENAI_API_KEY}
---
kind: Version
name: gpt-4o-mini-1
spec:
  backends:
    - {provider: openai, model: gpt-4o-mini}
---
kind: Model
name: gpt-4o-mini
spec:
  version: gpt-4o-mini-1
"""
_SENTENCES = {
    400: "The request is wrong; `error` says where.",
    401: "No API key, or not a valid one.",
    403: "The API key may not use the admin API.",
    404: "There is no such thing.",
    409: "The present state forbids the change.",
    413: "The body is too large.",
    415: "The body's content type is not one that is read.",
    503: "The database cannot be reached.",
}


def config(version: str) -> OpenAPIConfig:
    """Settings of the description, which is served without a key at `/admin/v1/openapi.json`."""
    return OpenAPIConfig(
        title="Podium admin API",
        version=version,
        description="Declares resources, issues API keys, and tells usage, single exchanges and state. For operators.",
        # The framework's own router for descriptions answers everything below its path: that is this path only.
        path=f"{PATH}/openapi.json",
        render_plugins=[_Json(path="/", media_type=MediaType.JSON)],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "admin_key": SecurityScheme(
                    type="http", scheme="bearer", description="An API key with `admin`: `pk_<id>_<secret>`."
                )
            }
        ),
        tags=[
            Tag("resources", "What is declared: tenants, providers, versions, models, limits, prices."),
            Tag("revisions", "Who changed what, when, and the way back."),
            Tag("rollouts", "New versions on their way to users, and back."),
            Tag("experiments", "Versions compared with real users."),
            Tag("keys", "API keys."),
            Tag("usage", "Sums over finished exchanges."),
            Tag("exchanges", "Finished exchanges, one by one."),
            Tag("flags", "How feature flags are used, and what they give."),
            Tag("standings", "How limits and budgets stand."),
            Tag("state", "How the control plane is."),
        ],
    )


def errors(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors of a route that needs a key, and `statuses` besides."""
    return {
        status: ResponseSpec(ErrorAnswer, generate_examples=False, description=_SENTENCES[status])
        for status in sorted({400, 401, 403, 503, *statuses})
    }


@dataclass
class DocumentsOperation(Operation):
    """An operation whose body is documents in YAML or JSON."""

    def __post_init__(self) -> None:
        examples: dict[str, Example | Reference] = {
            "provider": Example(summary="A provider and a model of it", value=_EXAMPLE)
        }
        self.request_body = RequestBody(
            description="Documents with `kind`, `name` and `spec`.",
            required=True,
            content={
                "application/yaml": OpenAPIMediaType(examples=examples),
                "application/json": OpenAPIMediaType(),
            },
        )


def describe(app: Litestar) -> dict[str, Any]:
    """The description as built-in values."""
    return _mended(app.openapi_schema.to_schema())


class _Json(JsonRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self.render_json(request, _mended(openapi_schema))


def _mended(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the typed documents, and write patterns as ECMA-262 has them."""
    documents, components = _document_schemas()
    schema = _with_ecma_patterns(schema)
    schema["components"]["schemas"] |= components
    for path in schema["paths"].values():
        for operation in path.values():
            operation["summary"] = operation["description"].partition(".")[0].partition(";")[0]
    for name in ("apply", "diff"):
        content = schema["paths"][f"{PATH}/{name}"]["post"]["requestBody"]["content"]
        content["application/json"]["schema"] = {"oneOf": [documents, {"type": "array", "items": documents}]}
        content["application/yaml"]["schema"] = {"type": "string"}
    exported = schema["paths"][f"{PATH}/export"]["get"]["responses"]["200"]["content"]
    exported["application/json"] = {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Document"}}}
    return schema


def _document_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    shapes, components = msgspec.json.schema_components(SPECS.values(), ref_template="#/components/schemas/Spec{name}")
    named = {f"Spec{name}": _with_ecma_patterns(schema) for name, schema in components.items()}
    documents = []
    for kind, shape in zip(SPECS, shapes, strict=True):
        properties = {"kind": {"const": kind}, "name": _NAME, "spec": shape}
        documents.append(
            {
                "type": "object",
                "title": kind,
                "properties": properties,
                "required": ["kind", "name"],
                "additionalProperties": False,
            }
        )
    return {"oneOf": documents}, named


_NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$"}


def _with_ecma_patterns(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.replace(r"\Z", "$") if key == "pattern" and isinstance(item, str) else _with_ecma_patterns(item)
            for key, item in value.items()
        }
    return [_with_ecma_patterns(item) for item in value] if isinstance(value, list) else value
