"""The errors a caller can be told about, each with a stable code and an HTTP status.

A :class:`Problem` is RFC 9457 problem+json in waiting: raised anywhere, rendered in one place
(:mod:`services.kernel.problems`). The order in which a request is checked is the contract's:
401, 422, 404, 403, 428, 412, 409, 429, 503. ``detail`` never says anything about a record the
caller may not see, and never repeats what the caller sent.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import ClassVar, Final

from services.kernel.events import Outcome

#: what a problem is sent as (RFC 9457)
MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """Something went wrong that the caller may know about."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after_s = retry_after_s


class Unauthenticated(Problem):
    """No valid session stands behind the request."""

    status, code, title = HTTPStatus.UNAUTHORIZED, "unauthenticated", "Not authenticated"


class Malformed(Problem):
    """The request cannot be understood."""

    status, code, title = HTTPStatus.UNPROCESSABLE_ENTITY, "malformed", "Malformed request"


class KeyReused(Malformed):
    """An ``Idempotency-Key`` comes with another body than before: known by what is stored."""


class NotFound(Problem):
    """It does not exist, or the caller may not know whether it does: the two are one answer."""

    status, code, title = HTTPStatus.NOT_FOUND, "not_found", "Not found"


class Forbidden(Problem):
    """The caller may see it and may not do that."""

    status, code, title = HTTPStatus.FORBIDDEN, "forbidden", "Not permitted"


class PreconditionRequired(Problem):
    """``If-Match`` is missing."""

    status, code, title = HTTPStatus.PRECONDITION_REQUIRED, "if_match_required", "If-Match required"


class PreconditionFailed(Problem):
    """``If-Match`` names a version that is no longer what the caller sees."""

    status, code, title = HTTPStatus.PRECONDITION_FAILED, "stale_version", "The record has changed"


class Conflict(Problem):
    """Not possible in the state the record is in."""

    status, code, title = HTTPStatus.CONFLICT, "conflict", "Not possible in this state"


class TooManyRequests(Problem):
    """Slow down; ``retry_after_s`` says for how long."""

    status, code, title = HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", "Too many requests"


class TooLarge(Problem):
    """The body is larger than this route takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code, title = "too_large", "Body too large"


class Unavailable(Problem):
    """It cannot be recorded now, so it cannot be answered: nothing is shown."""

    status, code, title = HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Cannot record"


class MethodNotAllowed(Problem):
    """The path exists and does not answer this method; ``allowed`` are those that it does."""

    status, code = HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        super().__init__()
        self.allowed = frozenset(allowed)


class UnsupportedMediaType(Problem):
    """The body is not in a format this route reads."""

    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"
    title = "Unsupported media type"


class BadRequest(Problem):
    """What came is not HTTP, or two could read it as two things; it is no request to anybody."""

    status, code, title = HTTPStatus.BAD_REQUEST, "bad_request", "Bad request"


class HeadTooLarge(Problem):
    """Request line and headers are larger than any request's may be."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code, title = "head_too_large", "Request head too large"


class RequestTimeout(Problem):
    """The body did not come in time."""

    status, code, title = HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The body came too slowly"


#: the caller may do it, and it could not be done as they asked, or just now
_FAILED: Final = frozenset(
    {
        HTTPStatus.CONFLICT,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.PRECONDITION_REQUIRED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


def outcome_of(problem: Problem) -> Outcome:
    """Return how it went, as the event of a refusal has it: ``denied`` to whoever may not."""
    return Outcome.FAILED if problem.status in _FAILED else Outcome.DENIED
