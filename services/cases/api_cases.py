"""``/v1/cases``: cases and their items over HTTP."""

from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from services.cases import answers, casework, items, labelling, models, reading
from services.cases.explaining import explain
from services.cases.front import Front, json_response
from services.cases.lists import Wanted
from services.cases.parts import PARTS, wanted_part, wanted_parts
from services.cases.record import Status
from services.cases.terms import RecordKind
from services.kernel.errors import Malformed
from services.kernel.etags import not_modified

_KIND = RecordKind.CASE
Parts = Annotated[
    list[Annotated[str, Field(max_length=400)]] | None,
    Query(
        max_length=20,
        description="Part names, separated by commas or said one by one",
        examples=[["overview,plan"]],
    ),
]
Part = Annotated[str, Query(json_schema_extra={"enum": list(PARTS)})]


class WantedCases(Wanted):
    """Which cases to list: by a state that a case has."""

    status: Literal[Status.ACTIVE, Status.CLOSED, Status.WITHDRAWN] | None = None


def router(front: Front) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/cases", tags=["cases"])
    _reading(routes, front)
    _people(routes, front)
    _casework(routes, front)
    _items(routes, front)
    return routes


def _reading(routes: APIRouter, front: Front) -> None:
    @routes.get("", response_model=answers.RecordPage)
    async def list_cases(request: Request, wanted: Annotated[WantedCases, Query()]) -> Response:
        """Return the cases the caller sees, newest first (AC-SEE-1 to 19, AC-USE-1)."""
        return await front.listed(request, _KIND, wanted)

    @routes.get("/{case_id}", response_model=answers.RecordAnswer)
    async def read_case(request: Request, case_id: UUID, parts: Parts = None) -> Response:
        """Return a case: exactly the parts asked for (all, when not said) that one may see.

        What one may not see is absent (AC-SEE-1 to 25). The version covers every part one sees,
        whichever were asked for.
        """
        return await front.read(request, _KIND, case_id, wanted_parts(parts))

    @routes.get("/{case_id}/why", response_model=answers.Why)
    async def explain_part(request: Request, case_id: UUID, part: Part) -> Response:
        """Explain on which assignment and clause a part that one sees rests (SG-1, SG-12)."""
        name = wanted_part(part)
        asked = await front.asked(request, "read")
        body = await front.run(asked, lambda: explain(front.desk, asked, _KIND, case_id, name))
        return json_response(body)

    @routes.get("/{case_id}/items/{item_id}", response_model=answers.ItemAnswer)
    async def read_item(request: Request, case_id: UUID, item_id: UUID) -> Response:
        """Return one item, or its need-to-know summary (AC-SEE-2 to 25, SG-13).

        The version covers what one sees of the item.
        """
        asked = await front.asked(request, "read")
        body, version = await front.run(
            asked, lambda: reading.read_item(front.desk, asked, case_id, item_id)
        )
        return not_modified(request, version) or json_response(body, version)

    @routes.get("/{case_id}/items/{item_id}/content", response_class=PlainTextResponse)
    async def read_document(request: Request, case_id: UUID, item_id: UUID) -> Response:
        """Return the content of a document as plain text (AC-SEE-2 to 25)."""
        asked = await front.asked(request, "read")
        text, version = await front.run(
            asked, lambda: reading.document_of(front.desk, asked, case_id, item_id)
        )
        return not_modified(request, version) or Response(
            text, headers={"etag": version}, media_type="text/plain; charset=utf-8"
        )


def _people(routes: APIRouter, front: Front) -> None:
    @routes.put("/{case_id}/primary-contact", response_model=answers.Changed)
    async def name_primary_contact(
        request: Request, case_id: UUID, body: models.ToPerson
    ) -> Response:
        """Name the school's primary contact (AC-DO-1, AC-DO-3)."""
        command = casework.name_primary_contact(body.person_id)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.post("/{case_id}/team", response_model=answers.Changed)
    async def name_team_member(request: Request, case_id: UUID, body: models.ToPerson) -> Response:
        """Put a case manager of the provider on the team (AC-DO-6)."""
        command = casework.name_team_member(body.person_id)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.delete("/{case_id}/team", response_model=answers.Changed)
    async def remove_team_member(
        request: Request, case_id: UUID, body: models.ToPerson
    ) -> Response:
        """Take somebody off the team (AC-DO-6)."""
        command = casework.remove_team_member(body.person_id)
        return await front.change(request, _KIND, case_id, "update", command)


def _casework(routes: APIRouter, front: Front) -> None:
    @routes.put("/{case_id}/plan", response_model=answers.Changed)
    async def write_plan(request: Request, case_id: UUID, body: models.Plan) -> Response:
        """Add a version of the support plan (AC-DO-6)."""
        command = casework.write_plan(body.goals, body.actions, body.status, body.labels)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.put("/{case_id}/plan/{plan_id}/labels", response_model=answers.Changed)
    async def label_plan(
        request: Request, case_id: UUID, plan_id: UUID, body: models.Labels
    ) -> Response:
        """Set the sensitive labels of a version of the plan (SE)."""
        command = labelling.label_plan(plan_id, body.labels)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.put("/{case_id}/referral/labels", response_model=answers.Changed)
    async def label_case_referral(request: Request, case_id: UUID, body: models.Labels) -> Response:
        """Set the sensitive labels of the referral (SE)."""
        command = labelling.label_referral(body.labels)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.put("/{case_id}/prosecution-notice", response_model=answers.Changed)
    async def notify_prosecution(request: Request, case_id: UUID) -> Response:
        """Notify the case for potential prosecution (AC-DO-12)."""
        command = casework.notify_prosecution(notified=True)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.delete("/{case_id}/prosecution-notice", response_model=answers.Changed)
    async def withdraw_prosecution_notice(request: Request, case_id: UUID) -> Response:
        """Withdraw the notice (AC-DO-12)."""
        command = casework.notify_prosecution(notified=False)
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.post("/{case_id}/move", response_model=answers.Changed)
    async def move_case(request: Request, case_id: UUID, body: models.ToOrganisation) -> Response:
        """Move the case to another ASP (AC-DO-7)."""
        command = casework.move(body.organisation_id)
        return await front.change(request, _KIND, case_id, "move", command)

    @routes.post("/{case_id}/assign", response_model=answers.Changed)
    async def assign_case(request: Request, case_id: UUID, body: models.ToPerson) -> Response:
        """Give the case to another case manager (AC-DO-5)."""
        command = casework.assign(body.person_id)
        return await front.change(request, _KIND, case_id, "assign", command)

    @routes.post("/{case_id}/close", response_model=answers.Changed)
    async def close_case(request: Request, case_id: UUID, body: models.Closing) -> Response:
        """Close the case with its outcome (AC-DO-6)."""
        command = casework.close(body.outcome)
        return await front.change(request, _KIND, case_id, "close", command)

    @routes.delete("/{case_id}", response_model=answers.Changed)
    async def withdraw_case(request: Request, case_id: UUID, body: models.Reason) -> Response:
        """Withdraw a case that was opened in error (AC-DO-14)."""
        command = casework.withdraw(body.reason)
        return await front.change(request, _KIND, case_id, "withdraw", command)


def _items(routes: APIRouter, front: Front) -> None:
    @routes.post("/{case_id}/items", response_model=answers.Changed, status_code=HTTPStatus.CREATED)
    async def add_item(request: Request, case_id: UUID, body: models.NewItem) -> Response:
        """Add an item (AC-DO-1, AC-DO-2, AC-DO-6).

        What is shared or labelled needs the right to share or label (SE). The answer's `id` is the
        item's; its `version` and `ETag` are the case's.
        """
        command = items.add(items.NewItem(**body.model_dump()))
        return await front.change(
            request, _KIND, case_id, "create", command, status=HTTPStatus.CREATED
        )

    @routes.patch("/{case_id}/items/{item_id}", response_model=answers.Changed)
    async def edit_item(
        request: Request, case_id: UUID, item_id: UUID, body: models.ItemEdit
    ) -> Response:
        """Change an item's text, summary, labels or whether the school sees it (AC-DO-6, SE).

        `If-Match` is the item's version or the case's. The answer's are the case's.
        """
        changes = body.model_dump(exclude_unset=True)
        without = "summary" in changes and changes["summary"] is None
        if not without and all(value is None for value in changes.values()):
            raise Malformed("nothing to change")
        command = items.edit(item_id, items.ItemEdit(**changes, without_summary=without))
        return await front.change(request, _KIND, case_id, "update", command)

    @routes.delete("/{case_id}/items/{item_id}", response_model=answers.Changed)
    async def delete_item(
        request: Request, case_id: UUID, item_id: UUID, body: models.Reason
    ) -> Response:
        """Take off an item that one wrote, with a reason (AC-DO-6)."""
        command = items.delete(item_id, body.reason)
        return await front.change(request, _KIND, case_id, "delete", command)
