"""What a body may be: no larger than its route needs; of JSON, each name once, few, by RFC 8259.

Whoever stands in front and reads a body as well, such as a filter, must see what we see: of a name
that comes twice, or of bytes in another encoding, two readers make two things. Every service has
this once, for all of its routes (:mod:`services.kernel.application`): where a body is read, before
anything parses it. How large a body may be follows from the model that its route declares: no other
place names it.
"""

import email.message
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Never

from pydantic import TypeAdapter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kernel.errors import Malformed

#: bytes that every body may have
SMALL_BYTES: Final = 16_384
#: what one event can hold, each byte of it escaped: no more could be recorded
LARGEST_BYTES: Final = 6 * 65_536
#: members, elements, objects and arrays of a body, all together: more than any model has
MOST_MEMBERS: Final = 256
#: signs that texts begin or end with in a body of so many members, and one text
_MOST_QUOTES: Final = 4 * MOST_MEMBERS + 2
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

    One of more members than :data:`MOST_MEMBERS` is malformed too, and is not parsed: whoever
    looked at each of them would keep everybody else waiting.
    """
    if _members(body) > MOST_MEMBERS:
        raise Malformed("the body has more members than any may have")
    try:
        json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise Malformed(f"{error.pos}: json_invalid") from None
    except ValueError:
        raise Malformed("the body is not JSON in UTF-8") from None


def _members(body: bytes) -> int:
    """Return how many members, elements, objects and arrays begin before JSON would break off.

    More than :data:`MOST_MEMBERS` where there are more texts than so many could have. A backslash
    outside of a text, which is no JSON, hides only what no parser comes to.
    """
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    pieces = body.split(b'"', _MOST_QUOTES + 1)
    if len(pieces) > _MOST_QUOTES + 1:
        return MOST_MEMBERS + 1
    outside = b"".join(pieces[::2])
    return sum(outside.count(sign) for sign in (b",", b"[", b"{"))


class CheckedBodies:
    """The layer that looks at a JSON body, by :func:`check_json`, when a route reads it.

    Whoever reads gets it whole, or :class:`Malformed`. What admits a request has then had its turn,
    and how large the body may be is known.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (content_type := Headers(scope=scope).get("content-type")):
            receive = _checked(receive, content_type)
        await self._app(scope, receive, send)


def _checked(receive: Receive, content_type: str) -> Receive:
    looked_at = False

    async def checked() -> Message:
        nonlocal looked_at
        if looked_at or not _is_json(content_type):
            return await receive()
        message = await _whole(receive)
        looked_at = True
        if body := message.get("body"):
            check_json(body)
        return message

    return checked


async def _whole(receive: Receive) -> Message:
    """Return a body as one message, or that who sends it has gone."""
    pieces: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return {**message, "body": b"".join(pieces)}
    return message


def _is_json(content_type: str) -> bool:
    """Say whether the framework takes it for JSON; raise for JSON in another encoding."""
    message = email.message.Message()
    message["content-type"] = content_type
    if message.get_content_maintype() != "application":
        return False
    subtype = message.get_content_subtype()
    if subtype != "json" and not subtype.endswith("+json"):
        return False
    if message.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise Malformed("the body is not JSON in UTF-8")
    return True


async def unambiguous(request: Request) -> None:
    """Read a JSON body, so that it is looked at where the route itself reads none.

    A dependency of every route.
    """
    announced = request.headers.get("content-type")
    if announced is not None and _is_json(announced):
        await request.body()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a name comes twice in one object of the body")
    return found


def _refused(_constant: str) -> Never:
    raise ValueError
