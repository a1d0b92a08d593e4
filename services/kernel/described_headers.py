"""How the OpenAPI documents describe headers: what a request may carry, and what an answer has.

Data alone. Which route reads which of them is :mod:`services.kernel.documents`.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.kernel.http import PURPOSES, REQUEST_ID

_REQUEST_ID: Final = {"type": "string", "pattern": f"^{REQUEST_ID}$"}
_TAG: Final = '"ElkWw4giQ74s1rqnqWPQXA"'
#: of requests: what ``components.parameters`` calls each, and what it says of it
REQUEST: Final[Mapping[str, Mapping[str, Any]]] = {
    "RequestId": {
        "name": "X-Request-ID",
        "description": "Echoed in the answer and kept in every event; made when it is missing.",
        "schema": _REQUEST_ID,
    },
    "Purpose": {
        "name": "Purpose",
        "description": "What the information is used for; kept in the event.",
        "schema": {"$ref": "#/components/schemas/Purpose"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "description": "Makes the POST safe to repeat. Scoped to person, route and path; another "
        "body under the same key is malformed. No response is kept: a repeat is authorised, "
        "recorded and rendered anew.",
        "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
        "example": "5f3c9d1e-attendance-note",
    },
    "IfMatch": {
        "name": "If-Match",
        "required": True,
        "description": "The version the caller saw last, as its ETag; `*` for whichever it is.",
        "schema": {"type": "string"},
        "example": _TAG,
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "description": "The version the caller has; 304 when it is still what they may see, which "
        "is recorded like any disclosure.",
        "schema": {"type": "string"},
        "example": _TAG,
    },
}
#: a schema with a name, so that a generated client has one type for all routes
PURPOSE: Final = {
    "type": "string",
    "title": "Purpose",
    "description": "Why somebody looks (SG-15).",
    "enum": sorted(PURPOSES),
}
#: of answers: what ``components.headers`` calls each, and what it says of it
ANSWER: Final[Mapping[str, Mapping[str, Any]]] = {
    "RequestId": {"description": "The request's id: its own, or one made.", "schema": _REQUEST_ID},
    "ETag": {
        "description": "The version of what this caller sees, in quotes: opaque, and nobody else's."
        " Absent where they see it no more.",
        "schema": {"type": "string"},
        "example": _TAG,
    },
}
