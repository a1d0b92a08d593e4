"""The OpenAPI document of a service: its routes, and what holds for all of them.

FastAPI describes bodies and answers; this adds the bearer token, the problems (RFC 9457) that a
route can answer with, and ``X-Request-ID``, once and for every route alike. Nothing is served by
it: the documents are written by ``casewarden openapi`` and compared by a test.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

_PROBLEM: Final[Mapping[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details. `detail` never repeats what was sent, and says "
    "nothing of what the caller may not see.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable; made for programs."},
        "request_id": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    },
}
_ALWAYS: Final[Mapping[str, str]] = {
    "401": "Not authenticated",
    "404": "Does not exist, or may not be seen: one answer",
    "422": "Malformed request",
    "429": "Slow down",
    "503": "Cannot be recorded now, so it is not answered",
}
_CHANGES: Final[Mapping[str, str]] = {
    "403": "May be seen, may not be done",
    "409": "Not possible in this state",
}
_GUARDED: Final[Mapping[str, str]] = {
    "412": "If-Match names a version that is no longer what the caller sees",
    "428": "If-Match is missing",
}


def document(app: FastAPI) -> None:
    """Let ``app`` describe, beside its routes, what all of them have in common."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign] # how FastAPI says to extend it


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = dict(_PROBLEM)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    schema["security"] = [{"bearer": []}]
    for operations in schema["paths"].values():
        for method, operation in operations.items():
            operation["responses"] = _answers(method, operation.get("responses", {}))
    return schema


def _answers(method: str, described: Mapping[str, Any]) -> dict[str, Any]:
    problems = dict(_ALWAYS)
    if method != "get":
        problems |= _CHANGES
    if method in ("put", "patch", "delete"):
        problems |= _GUARDED
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = {
        status: {"description": text, "content": content} for status, text in problems.items()
    }
    for status, answer in described.items():
        known = answers.get(status)
        answers[status] = answer if known is None else {**known, "description": _said(answer)}
    return dict(sorted(answers.items()))


def _said(answer: Mapping[str, Any]) -> str:
    """Return how a route describes a problem, unless it is FastAPI's own standing phrase."""
    text = str(answer.get("description", ""))
    return _ALWAYS["422"] if text == "Validation Error" else text
