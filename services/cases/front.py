"""The front of the cases service: from an HTTP request to the desk, and from its answer to bytes.

What every route shares: who is calling, the budget of refusals, ``If-Match`` and
``If-None-Match``, ``Idempotency-Key``, and the JSON answer with its ETag.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeVar
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from services.authz.access import AccessTokens, Claims
from services.cases import changing
from services.cases.change import Change, Command
from services.cases.changing import Answer
from services.cases.desk import Asked, Desk, View
from services.cases.lists import Lists, Wanted
from services.cases.reading import disclose
from services.cases.rendering import canonical
from services.cases.students import Students
from services.cases.terms import RecordKind
from services.kernel.budgets import RECORDED, RefusalBudget
from services.kernel.errors import Unauthenticated
from services.kernel.etags import not_modified
from services.kernel.handling import Draft
from services.kernel.http import call_of
from services.kernel.idempotency import Idempotency, Made
from services.kernel.wholeness import signed_in

JSON = "application/json"
Reply = tuple[bytes, str]
T = TypeVar("T")


def json_response(body: bytes, version: str = "", status: int = HTTPStatus.OK) -> Response:
    """Return ``body`` as JSON, with its ETag when it has a version."""
    headers = {"etag": version} if version else {}
    return Response(body, status, headers, media_type=JSON)


class Front:
    """What the routes of the cases service call."""

    def __init__(
        self,
        desk: Desk,
        lists: Lists,
        students: Students,
        tokens: AccessTokens,
        idempotency: Idempotency,
    ) -> None:
        self.desk = desk
        self.lists = lists
        self.students = students
        self._tokens = tokens
        self._idempotency = idempotency
        self._budget = RefusalBudget()

    async def asked(self, request: Request, action: str) -> Asked:
        """Return the request as the desk takes it; raise when nobody is signed in (401)."""
        claims = await self.admit(request)
        if claims.person_id is None or claims.session_id is None:
            raise Unauthenticated
        self._budget.check(claims.person_id, self.desk.now())
        if_match = tuple(request.headers.getlist("if-match"))
        return Asked(call_of(request), claims, action, if_match)

    async def admit(self, request: Request) -> Claims:
        """Return what the token of ``request`` says; raise :class:`Unauthenticated` for none."""
        return await self._tokens.claims(request, self.desk.now())

    async def signed_in(self, request: Request) -> None:
        """Raise :class:`Unauthenticated` unless a live session stands behind the request."""
        claims = await self.admit(request)
        projector = self.desk.runtime.projector
        # their session may not be folded yet, or not again, or its end
        await projector.caught_up()
        await signed_in(projector, lambda: self.desk.loader.asking(claims, self.desk.now()))

    async def run(self, asked: Asked, decide: Callable[[], Awaitable[Draft[T]]]) -> T:
        """Run a decision; a refusal is counted against the caller's budget."""
        try:
            return await self.desk.runtime.handling.run(decide)
        except RECORDED:
            self._count(asked)
            raise

    def _count(self, asked: Asked) -> None:
        if asked.claims.person_id is not None:
            self._budget.spend(asked.claims.person_id, self.desk.now())

    async def read(
        self,
        request: Request,
        kind: RecordKind,
        record_id: UUID,
        wanted: frozenset[str] | None = None,
    ) -> Response:
        """Answer a record as the caller sees it; 304 when they have it already, also recorded."""
        asked = await self.asked(request, "read")
        rendered = await self.run(
            asked,
            lambda: disclose(
                self.desk, asked, kind, record_id, wanted, lambda view: view.body(wanted)
            ),
        )
        body, version = await rendered
        return not_modified(request, version) or json_response(body, version)

    async def listed(self, request: Request, kind: RecordKind, wanted: Wanted) -> Response:
        """Answer the records of ``kind`` that the caller sees, newest first, a page at a time."""
        asked = await self.asked(request, "list")
        return json_response(await self.run(asked, lambda: self.lists.records(asked, kind, wanted)))

    async def change(
        self,
        request: Request,
        kind: RecordKind,
        record_id: UUID,
        action: str,
        command: Command,
        answer: Answer | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        """Change a record and answer what the caller may know of it afterwards."""
        asked = await self.asked(request, action)
        answer = answer or plain_answer

        async def first() -> Draft[Reply]:
            return await changing.change_record(self.desk, asked, kind, record_id, command, answer)

        async def repeat(made: Made) -> Draft[Reply]:
            return await changing.change_again(
                self.desk, asked, kind, record_id, command, made, _repeated
            )

        body, version = await self.once(request, asked, first, repeat)
        return json_response(body, version, status)

    async def once(
        self,
        request: Request,
        asked: Asked,
        first: Callable[[], Awaitable[Draft[T]]],
        repeat: Callable[[Made], Awaitable[Draft[T]]],
    ) -> T:
        """Run a POST at most once per ``Idempotency-Key``; other methods just run."""
        attempt = None
        if request.method == "POST" and asked.claims.person_id is not None:
            attempt = await self._idempotency.attempt(request, asked.claims.person_id)
        try:
            return await self._idempotency.run(attempt, first, repeat)
        except RECORDED:
            self._count(asked)
            raise


def _summary(view: View) -> dict[str, object]:
    seen = "overview" in view.parts
    return {
        "id": view.record.id,
        "status": view.record.status if seen else None,
        "version": view.version.strip('"'),
    }


def _made(made: Mapping[str, UUID]) -> dict[str, object]:
    """Return the ids a change made; an item or a plan version is what its POST or PUT answers."""
    for name in ("item_id", "plan_id"):
        if name in made:
            return {"id": made[name]}
    return dict(made)


def _repeated(view: View, made: Made) -> bytes:
    """Answer a repeat: the record as it is seen now, and what was made then."""
    return canonical({**_summary(view), **_made(made)})


def plain_answer(change: Change, after: View | None) -> Mapping[str, object]:
    """Answer the record's id, its status and version where still seen, and what was made."""
    if after is None:
        return {"id": change.record.id, **_made(change.made)}
    return {**_summary(after), **_made(change.made)}
