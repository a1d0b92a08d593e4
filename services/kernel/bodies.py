"""What a JSON body may be: UTF-8 without a mark, each name once, by RFC 8259 alone.

Whoever stands in front and reads a body as well, such as a filter, must see what we see: of a name
that comes twice, or of bytes in another encoding, two readers make two things. Every service has
this once, for all of its routes (:mod:`services.kernel.application`).
"""

import json
from email.message import Message
from typing import Any, Never

from starlette.requests import Request

from services.kernel.errors import Malformed


def check_json(body: bytes) -> None:
    """Raise :class:`Malformed` for a body that two readers of JSON could take for two things."""
    try:
        json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
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
