"""The OpenAPI document of a service: its routes, and what holds for all of them.

FastAPI describes bodies and answers; this adds the bearer token, the headers a request may or must
carry, the problems (RFC 9457) that a route can answer with, and ``X-Request-ID``, once and for
every route alike. Nothing is served by it: the documents are written by ``casewarden openapi`` and
compared by a test.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

from services.kernel.bodies import most_bytes
from services.kernel.http import PURPOSES

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
#: methods that take ``If-Match``
_MATCHED: Final = frozenset({"put", "patch", "delete"})
_GUARDED: Final[Mapping[str, str]] = {
    "412": "If-Match names a version that is no longer what the caller sees",
    "428": "If-Match is missing",
}


_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "RequestId": {
        "name": "X-Request-ID",
        "description": "Echoed in the answer and kept in every event; made when it is missing.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    },
    "Purpose": {
        "name": "Purpose",
        "description": "What the information is used for (SG-15); kept in the event.",
        "schema": {"type": "string", "enum": sorted(PURPOSES)},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "description": "Makes the POST safe to repeat. Scoped to person, route and path; another "
        "body under the same key is malformed. No response is kept: a repeat is authorised, "
        "recorded and rendered anew.",
        "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "required": True,
        "description": "The version the caller saw last, as its ETag; `*` for whichever it is.",
        "schema": {"type": "string"},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "description": "The version the caller has; 304 when it is still what they may see, which "
        "is recorded like any disclosure.",
        "schema": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a service's routes differ from the rest; each is named as the document names it."""

    #: paths that ask for no token
    anonymous: Collection[str] = ()
    #: paths whose POST does not know ``Idempotency-Key``
    unrepeatable: Collection[str] = ()
    #: paths whose GET knows ``If-None-Match``
    conditional: Collection[str] = ()


def document(app: FastAPI, ways: Ways) -> None:
    """Let ``app`` describe, beside its routes, what all of them have in common."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain(), ways)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign] # how FastAPI says to extend it


def _completed(schema: dict[str, Any], ways: Ways) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = dict(_PROBLEM)
    components["parameters"] = {key: {"in": "header", **said} for key, said in _HEADERS.items()}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    schema["security"] = [{"bearer": []}]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            operation["responses"] = _answers(method, operation, schemas)
            operation.setdefault("parameters", []).extend(
                {"$ref": f"#/components/parameters/{name}"} for name in _sent(method, path, ways)
            )
            if path in ways.anonymous:
                operation["security"] = []
            if method == "get" and path in ways.conditional:
                operation["responses"]["304"] = {"description": "The caller has it; recorded"}
    return schema


def _sent(method: str, path: str, ways: Ways) -> list[str]:
    """Return which headers a route reads."""
    names = ["RequestId"]
    if path not in ways.anonymous:
        names.append("Purpose")
    if method == "post" and path not in (*ways.anonymous, *ways.unrepeatable):
        names.append("IdempotencyKey")
    if method in _MATCHED:
        names.append("IfMatch")
    if method == "get" and path in ways.conditional:
        names.append("IfNoneMatch")
    return names


def _answers(
    method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    problems = dict(_ALWAYS)
    if "requestBody" in operation:
        bodies = operation["requestBody"]["content"].values()
        most = max(most_bytes(one["schema"], schemas) for one in bodies)
        problems["413"] = f"Body over {most:,} bytes"
    if method != "get":
        problems |= _CHANGES
    if method in _MATCHED:
        problems |= _GUARDED
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = {
        status: {"description": text, "content": content} for status, text in problems.items()
    }
    for status, answer in operation.get("responses", {}).items():
        known = answers.get(status)
        answers[status] = answer if known is None else {**known, "description": _said(answer)}
    return dict(sorted(answers.items()))


def _said(answer: Mapping[str, Any]) -> str:
    """Return how a route describes a problem, unless it is FastAPI's own standing phrase."""
    text = str(answer.get("description", ""))
    return _ALWAYS["422"] if text == "Validation Error" else text
