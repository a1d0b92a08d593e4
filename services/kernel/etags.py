"""Entity tags: opaque, covering exactly what one caller may see, and their preconditions.

A tag is a keyed digest of the canonical bytes of what is shown, bound to the caller: two callers
cannot learn by comparing tags that they see the same, nor one caller that something hidden has
changed. Preconditions follow RFC 9110, section 13.1.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from services.kernel.errors import PreconditionFailed, PreconditionRequired

_BYTES: Final = 16
_LONGEST: Final = 4_096
_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def etag(secret: bytes, caller_id: UUID | str, canonical: bytes) -> str:
    """Return the strong tag, with its quotes, of ``canonical`` as ``caller_id`` sees it."""
    digest = hmac.digest(secret, f"etag|{caller_id}|".encode() + canonical, "sha256")
    return f'"{base64.urlsafe_b64encode(digest[:_BYTES]).decode().rstrip("=")}"'


def require_match(request: Request, current: str) -> None:
    """Let a change go on whose ``If-Match`` names ``current`` (strong comparison) or is ``*``.

    Raises :class:`PreconditionRequired` without the header and :class:`PreconditionFailed`
    otherwise. Only call it of something the caller may see (404 and 403 come first).
    """
    require_any(request.headers.getlist("if-match"), current)


def require_any(sent: Sequence[str], *current: str) -> None:
    """Like :func:`require_match` for ``If-Match`` lines in hand, and several tags that would do."""
    if not sent:
        raise PreconditionRequired
    if not any(_matches(sent, tag, weak=False) for tag in current):
        raise PreconditionFailed


def not_modified(request: Request, current: str) -> Response | None:
    """Return 304 when ``If-None-Match`` names ``current`` (weak comparison) or is ``*``.

    It tells the caller what they see, so only call it once that disclosure is durable.
    """
    if not _matches(request.headers.getlist("if-none-match"), current, weak=True):
        return None
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"etag": current})


def _matches(sent: Sequence[str], current: str, *, weak: bool) -> bool:
    text = ",".join(sent).strip()
    if text == "*":
        return True
    tags = _TAG.findall(text[:_LONGEST])
    return any(tag == current and (weak or not prefix) for prefix, tag in tags)
