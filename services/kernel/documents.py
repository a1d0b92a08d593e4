"""The OpenAPI document of a service: its routes, and what holds for all of them.

FastAPI describes bodies and answers; this adds who may ask, the headers a request may or must
carry, the problems (RFC 9457) that a route can answer with, and the headers of every answer, once
and for every route alike. Nothing is served by it: the documents are written by ``casewarden
openapi`` and compared by a test.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.kernel import described_headers, errors, problem_answers
from services.kernel.bodies import most_bytes
from services.kernel.errors import Problem

#: methods that take ``If-Match``
_MATCHED: Final = frozenset({"put", "patch", "delete"})
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "An access token of authz: a person's (`POST /authz/v1/login`, then "
    "`/authz/v1/login/verify`) or a service client's (`POST /authz/v1/token`). It says who asks, "
    "and nothing of what they may; a person's ends with its session, at once.",
}
_BASIC: Final = {
    "type": "http",
    "scheme": "basic",
    "description": "`client_secret_basic` (RFC 6749, 2.3.1): the client's id and secret, each "
    "form-encoded.",
}


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a service's routes differ from the rest; each is named as the document names it."""

    #: what the service is for, and what its tags are
    about: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    #: paths that ask for no token
    anonymous: Collection[str] = ()
    #: those of them where a service client says who it is, by secret or by assertion
    clients: Collection[str] = ()
    #: paths that a service client may ask too, with the scope it needs
    scoped: Mapping[str, str] = field(default_factory=dict)
    #: paths whose POST does not know ``Idempotency-Key``
    unrepeatable: Collection[str] = ()
    #: paths whose GET knows ``If-None-Match``
    conditional: Collection[str] = ()


def operation_id(route: APIRoute) -> str:
    """Return what a generated client calls a route: its function's name, unique in a service."""
    return route.name


def document(app: FastAPI, ways: Ways) -> None:
    """Let ``app`` describe, beside its routes, what all of them have in common."""
    plain = app.openapi
    app.description = ways.about
    app.openapi_tags = [{"name": name, "description": said} for name, said in ways.tags.items()]
    app.license_info = {"name": "Apache-2.0", "identifier": "Apache-2.0"}

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
    schemas |= {"Problem": dict(problem_answers.SCHEMA), "Purpose": dict(described_headers.PURPOSE)}
    components["parameters"] = {
        key: {"in": "header", **said} for key, said in described_headers.REQUEST.items()
    }
    components["headers"] = {key: dict(said) for key, said in described_headers.ANSWER.items()}
    components["responses"] = problem_answers.shared()
    components["securitySchemes"] = _schemes(ways)
    schema["security"] = [{"bearer": []}]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            operation["responses"] = _answers(method, path, operation, schemas, ways)
            parameters = operation.setdefault("parameters", [])
            for parameter in parameters:
                parameter["schema"] = _without_null(parameter["schema"])
            parameters.extend(
                {"$ref": f"#/components/parameters/{name}"} for name in _sent(method, path, ways)
            )
            if (security := _security(path, ways)) is not None:
                operation["security"] = security
    return schema


def _schemes(ways: Ways) -> dict[str, Any]:
    """Return how somebody may say who they are."""
    schemes: dict[str, Any] = {"bearer": dict(_BEARER)}
    if ways.clients:
        schemes["client_secret_basic"] = dict(_BASIC)
    if ways.scoped:
        scopes = dict.fromkeys(ways.scoped.values(), "Ask as a service client")
        flow = {"tokenUrl": "/authz/v1/token", "scopes": scopes}
        schemes["service_client"] = {
            "type": "oauth2",
            "description": "A service client's token (RFC 6749, 4.4) with the scope that is named.",
            "flows": {"clientCredentials": flow},
        }
    return schemes


def _security(path: str, ways: Ways) -> list[dict[str, list[str]]] | None:
    """Return who may ask, where that is not everybody with a token and nobody else."""
    if path in ways.clients:
        # the assertion of private_key_jwt is in the form, for which OpenAPI has no scheme
        return [{"client_secret_basic": []}, {}]
    if path in ways.anonymous:
        return []
    if path in ways.scoped:
        return [{"bearer": []}, {"service_client": [ways.scoped[path]]}]
    return None


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter without null: whoever has none leaves it out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**kinds[0], **{key: said for key, said in schema.items() if key != "anyOf"}}


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
    method: str,
    path: str,
    operation: Mapping[str, Any],
    schemas: Mapping[str, Any],
    ways: Ways,
) -> dict[str, Any]:
    answers = dict(map(problem_answers.reference, _refusals(method, path, operation, ways)))
    if "requestBody" in operation:
        bodies = operation["requestBody"]["content"].values()
        most = max(most_bytes(one["schema"], schemas) for one in bodies)
        answers["413"] = problem_answers.too_large(most)
    conditional = method == "get" and path in ways.conditional
    for status, answer in operation.get("responses", {}).items():
        if answer.get("description") == "Validation Error":
            continue  # FastAPI's own, which is never sent
        if status.startswith("2"):
            tagged = conditional or _has_version(answer, schemas)
            answers[status] = {**answer, "headers": _headers(tagged=tagged)}
        else:
            answers[status] = problem_answers.own(answer)
    if conditional:
        said = "The caller has it; the disclosure is recorded"
        answers["304"] = {"description": said, "headers": _headers(tagged=True)}
    answers["default"] = {"$ref": "#/components/responses/Problem"}
    return dict(sorted(answers.items()))


def _refusals(
    method: str, path: str, operation: Mapping[str, Any], ways: Ways
) -> list[type[Problem]]:
    """Return the shared problems that a route may answer with."""
    found: list[type[Problem]] = [errors.Unavailable]
    signed_in = path not in ways.anonymous
    if signed_in:
        found += [errors.Unauthenticated, errors.NotFound]
    if signed_in or "requestBody" in operation:
        found += [errors.Malformed, errors.TooManyRequests]
    if signed_in and method != "get":
        found += [errors.Forbidden, errors.Conflict]
    if method in _MATCHED:
        found += [errors.PreconditionRequired, errors.PreconditionFailed]
    return found


def _headers(*, tagged: bool) -> dict[str, Any]:
    headers = problem_answers.request_id_header()
    return {**headers, "ETag": {"$ref": "#/components/headers/ETag"}} if tagged else headers


def _has_version(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Say whether an answer names its version in its body: then it is its tag too."""
    for content in answer.get("content", {}).values():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if "version" in schemas.get(name, {}).get("properties", {}):
            return True
    return False
