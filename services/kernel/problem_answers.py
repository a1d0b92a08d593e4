"""How the OpenAPI documents describe problems: which there are, their codes, and an example each.

What a problem is stands in :mod:`services.kernel.errors`, how one is sent in
:mod:`services.kernel.problems`; here each is described from its own class, so that a document
cannot name a code that is never sent.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.kernel import errors
from services.kernel.errors import MEDIA_TYPE, Problem
from services.kernel.http import REQUEST_ID
from services.kernel.texts import MAX_TEXTS

Described = dict[str, Any]
_REQUEST_ID: Final = "4d36a288-0ae0-45c8-a1ec-7415f8455202"

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details. `detail` never repeats what was sent, and says "
    "nothing of what the caller may not see. Branch on `code`, log `request_id`.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {
            "type": "string",
            "description": "For people; of a malformed request which fields are wrong, and how.",
        },
        "code": {"type": "string", "description": "Stable; made for programs. More may come."},
        "request_id": {"type": "string", "pattern": f"^{REQUEST_ID}$"},
    },
}
#: the problems that many routes answer alike, and what each tells who gets it
_SHARED: Final[Mapping[type[Problem], str]] = {
    errors.Unauthenticated: "No live session or registered client stands behind the token. "
    "Refresh or log in; nothing else was looked at.",
    errors.Malformed: "The request cannot be understood; `detail` names the fields. All texts of a "
    f"body together have at most {MAX_TEXTS:,} bytes of UTF-8, of which a quotation mark, a "
    "backslash, a line feed and a tab are two each, as in JSON; `detail` says "
    f"`texts_over_{MAX_TEXTS}_bytes` of more. A time is RFC 3339's with its offset, and a boolean "
    "is `true` or `false` alone.",
    errors.NotFound: "It does not exist, or the caller may not know whether it does: one answer.",
    errors.Forbidden: "The caller may see it and may not do that.",
    errors.PreconditionRequired: "`If-Match` is missing.",
    errors.PreconditionFailed: "`If-Match` names a version that is no longer what the caller sees.",
    errors.Conflict: "Not possible in the state it is in.",
    errors.TooManyRequests: "Slow down; ask again after `Retry-After` seconds.",
    errors.Unavailable: "It cannot be recorded now, so nothing is shown; ask again after "
    "`Retry-After` seconds, then ever later. Whether a change was done is not known: repeat it "
    "under its `Idempotency-Key`, or read first.",
}
RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}
}
_HEADERS_OF: Final[Mapping[type[Problem], Mapping[str, Any]]] = {
    errors.Unauthenticated: {
        "WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}
    },
    errors.TooManyRequests: RETRY_AFTER,
    errors.Unavailable: RETRY_AFTER,
}
_REFERENCE: Final = {"$ref": "#/components/schemas/Problem"}


def shared() -> Described:
    """Return the components of the problems that many routes have, by name."""
    return {
        kind.__name__: {
            "description": f"`{kind.code}`: {said}",
            "headers": {**request_id_header(), **_HEADERS_OF.get(kind, {})},
            "content": {MEDIA_TYPE: {"schema": _REFERENCE, "example": _example(kind)}},
        }
        for kind, said in _SHARED.items()
    } | {
        "Problem": {
            "description": "Any other problem; a fault of ours is `internal`.",
            "headers": request_id_header(),
            "content": {MEDIA_TYPE: {"schema": _REFERENCE}},
        }
    }


def one_of(*kinds: type[Problem]) -> dict[int | str, Described]:
    """Return the answers of a route with problems of its own, for FastAPI's ``responses``.

    Those of one status stand together, each with its code.
    """
    return {
        int(status): {
            "description": "; ".join(
                f"`{kind.code}`: {kind.title.lower()}" for kind in kinds if kind.status is status
            ),
            "content": {
                MEDIA_TYPE: {
                    "schema": _REFERENCE,
                    "examples": {
                        kind.code: {"value": _example(kind)}
                        for kind in kinds
                        if kind.status is status
                    },
                }
            },
        }
        for status in dict.fromkeys(kind.status for kind in kinds)
    }


def own(answer: Mapping[str, Any]) -> Described:
    """Return a route's own description of a problem, whose model FastAPI takes for plain JSON."""
    content = answer["content"]
    return {
        **answer,
        "headers": {**request_id_header(), **answer.get("headers", {})},
        "content": {MEDIA_TYPE: content.get(MEDIA_TYPE) or content["application/json"]},
    }


def reference(kind: type[Problem]) -> tuple[str, Described]:
    """Return status and answer of a shared problem, as a reference to its component."""
    return str(int(kind.status)), {"$ref": f"#/components/responses/{kind.__name__}"}


def too_large(most_bytes: int) -> Described:
    """Return how a body that is larger than its route takes is answered."""
    return {
        "description": f"`{errors.TooLarge.code}`: a body over {most_bytes:,} bytes",
        "headers": request_id_header(),
        "content": {MEDIA_TYPE: {"schema": _REFERENCE}},
    }


def request_id_header() -> Described:
    """Return the header that every answer has."""
    return {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}


def _example(kind: type[Problem]) -> Described:
    return {
        "type": f"urn:casewarden:problem:{kind.code}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": kind.title,
        "code": kind.code,
        "request_id": _REQUEST_ID,
    }
