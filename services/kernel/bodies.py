"""What a body may be: no larger than its route needs; of JSON, each name once, few, by RFC 8259.

Whoever stands in front and reads a body as well, such as a filter, must see what we see: of a name
that comes twice, or of bytes in another encoding, two readers make two things. Every service has
this once, for all of its routes (:mod:`services.kernel.application`). How large a body may be
follows from the model that its route declares: no other place names it.
"""

import json
import re
from collections.abc import Mapping
from email.message import Message
from functools import lru_cache
from typing import Any, Final, Never

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.routing import BaseRoute

from services.kernel.errors import Malformed

#: bytes that every body may have
SMALL_BYTES: Final = 16_384
#: what one event can hold, each byte of it escaped: no more could be recorded
LARGEST_BYTES: Final = 6 * 65_536
#: members, elements, objects and arrays of a body, all together: more than any model has
MOST_MEMBERS: Final = 256
#: a text of JSON, closed or not: so that nothing is looked at twice
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
#: a character beyond the basic plane as JSON escapes it, or as a form does
_CHARACTER_BYTES: Final = 12
_KIB: Final = 1_024
_NUMBER: Final = 24
#: characters of what has a format instead of a length
_FORMATS: Final[Mapping[str, int]] = {"uuid": 45, "date-time": 40, "date": 10}
_Schema = Mapping[str, Any]


def most_bytes(schema: _Schema, definitions: Mapping[str, _Schema]) -> int:
    """Return how many bytes a body by this JSON schema may have, in whole KiB.

    Guarantees that whatever the schema takes fits, however its characters are escaped, unless it
    could not be recorded. Raises ``TypeError`` for a schema that bounds nothing.
    """
    needed = _CHARACTER_BYTES * _longest(schema, definitions)
    return min(max(SMALL_BYTES, -(-needed // _KIB) * _KIB), LARGEST_BYTES)


def most_bytes_of(route: BaseRoute | None) -> int:
    """Return how many bytes the body of a request to ``route`` may have.

    It is the body's that the framework reads, or the one described where a route reads by hand.
    """
    field = getattr(route, "body_field", None)
    if field is not None:
        return _most_bytes_as(field.field_info.annotation)
    described = (getattr(route, "openapi_extra", None) or {}).get("requestBody")
    if described is None:
        return SMALL_BYTES
    return max(most_bytes(one["schema"], {}) for one in described["content"].values())


@lru_cache
def _most_bytes_as(annotation: Any) -> int:  # noqa: ANN401 - whatever a route declares
    schema = TypeAdapter(annotation).json_schema()
    return most_bytes(schema, schema.get("$defs", {}))


def _longest(schema: _Schema, definitions: Mapping[str, _Schema]) -> int:
    """Return the characters of the longest compact text by ``schema``."""
    match schema:
        case {"$ref": name}:
            longest = _longest(definitions[name.rpartition("/")[2]], definitions)
        case {"anyOf": kinds}:
            longest = max(_longest(kind, definitions) for kind in kinds)
        case {"enum": values}:
            longest = max(len(json.dumps(value)) for value in values)
        case {"const": value}:
            longest = len(json.dumps(value))
        case {"type": "string", "maxLength": characters}:
            longest = int(characters) + 2
        case {"type": "string", "format": kind}:
            longest = _FORMATS[kind] + 2
        case {"type": "array", "maxItems": most, "items": item}:
            longest = int(most) * (_longest(item, definitions) + 1) + 2
        case {"type": "object", "properties": members}:
            longest = 2 + sum(
                len(name) + 4 + _longest(member, definitions) for name, member in members.items()
            )
        case {"type": "integer" | "number" | "boolean" | "null"}:
            longest = _NUMBER
        case _:
            msg = f"a body may not hold what has no bound: {schema.get('title', schema)}"
            raise TypeError(msg)
    return longest


def check_json(body: bytes) -> None:
    """Raise :class:`Malformed` for a body that two readers of JSON could take for two things.

    One of more members than :data:`MOST_MEMBERS` is malformed too: a model that looked at each of
    them would keep everybody else waiting.
    """
    structure = _TEXT.sub(b"", body)
    if sum(structure.count(sign) for sign in (b",", b"[", b"{")) > MOST_MEMBERS:
        raise Malformed("the body has more members than any may have")
    try:
        json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except ValueError:
        raise Malformed("the body is not JSON in UTF-8") from None


async def unambiguous(request: Request) -> None:
    """Raise :class:`Malformed` for a JSON body that is ambiguous, or says it is not UTF-8.

    A dependency of every route; what FastAPI takes for JSON is what is looked at.
    """
    announced = request.headers.get("content-type")
    if announced is None:
        return
    message = Message()
    message["content-type"] = announced
    subtype = message.get_content_subtype()
    if message.get_content_maintype() != "application":
        return
    if subtype != "json" and not subtype.endswith("+json"):
        return
    if message.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise Malformed("the body is not JSON in UTF-8")
    if body := await request.body():
        check_json(body)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a name comes twice in one object of the body")
    return found


def _refused(_constant: str) -> Never:
    raise ValueError
