"""``/v1/requests``: requests for support over HTTP."""

from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.cases import answers, labelling, models, requests
from services.cases.drafting import draft_request, drafted_again
from services.cases.front import Front, json_response
from services.cases.lists import Wanted
from services.cases.record import Status
from services.cases.terms import RecordKind
from services.kernel.errors import Malformed

_KIND = RecordKind.REQUEST


class WantedRequests(Wanted):
    """Which requests to list: by a state that a request has, and is still there in."""

    status: (
        Literal[
            Status.DRAFT,
            Status.SUBMITTED,
            Status.ACCEPTED,
            Status.DECLINED,
            Status.ALLOCATED,
            Status.ASSIGNED,
            Status.WITHDRAWN,
        ]
        | None
    ) = None


def router(front: Front) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/requests", tags=["requests"])
    _drafts(routes, front)
    _decisions(routes, front)
    return routes


def _drafts(routes: APIRouter, front: Front) -> None:
    @routes.post("", response_model=answers.Drafted, status_code=HTTPStatus.CREATED)
    async def create_request(request: Request, body: models.NewRequest) -> Response:
        """Begin a request for support about a learner of one's school (AC-DO-1 to 3, AC-DO-10)."""
        asked = await front.asked(request, "create")
        answer, version = await front.once(
            request,
            asked,
            lambda: draft_request(front.desk, front.students, asked, body),
            lambda made: drafted_again(front.desk, front.students, asked, body, made),
        )
        return json_response(answer, version, HTTPStatus.CREATED)

    @routes.get("", response_model=answers.RecordPage)
    async def list_requests(
        request: Request, wanted: Annotated[WantedRequests, Query()]
    ) -> Response:
        """Return the requests the caller sees, newest first (AC-SEE-1 to 18, AC-USE-1)."""
        return await front.listed(request, _KIND, wanted)

    @routes.get("/{request_id}", response_model=answers.RecordAnswer)
    async def read_request(request: Request, request_id: UUID) -> Response:
        """Return a request, the parts the caller may see (AC-SEE-1 to 18)."""
        return await front.read(request, _KIND, request_id)

    @routes.patch("/{request_id}", response_model=answers.Changed)
    async def edit_request(
        request: Request, request_id: UUID, body: models.RequestEdit
    ) -> Response:
        """Replace fields of the referral (AC-DO-1 to 6)."""
        changes = body.model_dump(exclude_none=True)
        if not changes:
            raise Malformed("nothing to change")
        return await front.change(request, _KIND, request_id, "update", requests.edit(changes))

    @routes.put("/{request_id}/referral/labels", response_model=answers.Changed)
    async def label_request_referral(
        request: Request, request_id: UUID, body: models.Labels
    ) -> Response:
        """Set the sensitive labels of the referral, once the request is with a provider (SE)."""
        command = labelling.label_referral(body.labels)
        return await front.change(request, _KIND, request_id, "update", command)

    @routes.delete("/{request_id}", response_model=answers.Changed)
    async def delete_draft(request: Request, request_id: UUID) -> Response:
        """Throw a draft away (AC-DO-1, AC-DO-2)."""
        return await front.change(request, _KIND, request_id, "delete", requests.delete())

    @routes.post("/{request_id}/submit", response_model=answers.Changed)
    async def submit_request(request: Request, request_id: UUID) -> Response:
        """Send a draft to the Central Investigation Team (AC-DO-1 to 3, AC-DO-10)."""
        return await front.change(request, _KIND, request_id, "submit", requests.submit())


def _decisions(routes: APIRouter, front: Front) -> None:
    @routes.post("/{request_id}/accept", response_model=answers.Changed)
    async def accept_request(request: Request, request_id: UUID) -> Response:
        """Accept a submitted request (AC-DO-7)."""
        return await front.change(request, _KIND, request_id, "accept", requests.accept())

    @routes.post("/{request_id}/decline", response_model=answers.Changed)
    async def decline_request(request: Request, request_id: UUID, body: models.Reason) -> Response:
        """Decline a submitted request, with a reason (AC-DO-7)."""
        command = requests.decline(body.reason)
        return await front.change(request, _KIND, request_id, "decline", command)

    @routes.post("/{request_id}/allocate", response_model=answers.Changed)
    async def allocate_request(
        request: Request, request_id: UUID, body: models.ToOrganisation
    ) -> Response:
        """Give a request to a provider whose catchment holds the school (AC-DO-5, AC-DO-7)."""
        command = requests.allocate(body.organisation_id)
        return await front.change(request, _KIND, request_id, "allocate", command)

    @routes.post("/{request_id}/assign", response_model=answers.Changed)
    async def assign_request(request: Request, request_id: UUID, body: models.ToPerson) -> Response:
        """Give a request to a case manager; answers the `case_id` it opens (AC-DO-5)."""
        command = requests.assign(body.person_id)
        return await front.change(request, _KIND, request_id, "assign", command)

    @routes.post("/{request_id}/withdraw", response_model=answers.Changed)
    async def withdraw_request(
        request: Request, request_id: UUID, body: models.OptionalReason | None = None
    ) -> Response:
        """Take a request back (AC-DO-1, AC-DO-2)."""
        command = requests.withdraw(body.reason if body else None)
        return await front.change(request, _KIND, request_id, "withdraw", command)
