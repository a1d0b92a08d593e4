"""What may be done on a case: people, plan, notices, its end (AC-DO-1, 3, 5, 6, 7, 12, 14)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from services.authz.events import OrganisationKind, Role
from services.cases import events as e
from services.cases.change import Change, Command
from services.cases.content_events import PlanWritten
from services.cases.labelling import ordered
from services.cases.record import Status
from services.cases.requests import Holder, require_holder, require_provider, require_status
from services.cases.terms import Label, PlanStatus
from services.kernel.errors import Conflict, Forbidden, NotFound

#: of the plan of one case: each is read with the case, by whoever sees drafts
MOST_VERSIONS: Final = 100


def name_primary_contact(person_id: UUID) -> Command:
    """Name the school's primary contact; nobody names themselves."""

    async def command(change: Change) -> None:
        change.permit("name_primary_contact", "case")
        if person_id == change.loaded.caller.person.id:
            raise Forbidden
        holder = await require_holder(change, change.record.school_id, person_id)
        change.require_match()
        require_status(change, Status.ACTIVE)
        contact = holder.as_(Role.PRIMARY_CONTACT)
        change.write(e.PrimaryContactNamed(primary_contact=contact))

    return command


async def _colleague(change: Change, person_id: UUID) -> Holder:
    """Return somebody of the provider that has the case; all others are unknown (404)."""
    provider_id = change.record.provider_id
    assert provider_id is not None  # noqa: S101 - a case has a provider
    return await require_holder(change, provider_id, person_id)


def assign(person_id: UUID) -> Command:
    """Give the case to another case manager of the provider."""

    async def command(change: Change) -> None:
        change.permit("assign", "case")
        holder = await _colleague(change, person_id)
        require_status(change, Status.ACTIVE)
        manager = holder.as_(Role.ASP_CASE_MANAGER)
        if manager == change.record.case_manager:
            raise Conflict
        change.write(e.CaseAssigned(case_manager=manager))

    return command


def name_team_member(person_id: UUID) -> Command:
    """Put a case manager of the same provider on the team.

    Nobody names themselves, nor is it named who has the case: a post on the team would outlive the
    case's going to somebody else, which is how its sight is taken away (docs/decisions/0003, 48).
    """

    async def command(change: Change) -> None:
        change.permit("name_team", "case")
        if person_id == change.loaded.caller.person.id:
            raise Forbidden
        holder = await _colleague(change, person_id)
        require_status(change, Status.ACTIVE)
        member = holder.as_(Role.ASP_CASE_MANAGER)
        manager = change.record.case_manager
        if member in change.record.team or (manager and manager.person_id == person_id):
            raise Conflict
        change.write(e.TeamMemberNamed(member=member))

    return command


def remove_team_member(person_id: UUID) -> Command:
    """Take somebody off the team."""

    async def command(change: Change) -> None:
        change.permit("name_team", "case")
        if all(member.person_id != person_id for member in change.record.team):
            raise NotFound
        change.require_match()
        require_status(change, Status.ACTIVE)
        change.write(e.TeamMemberRemoved(person_id=person_id))

    return command


def write_plan(goals: str, actions: str, status: PlanStatus, labels: Sequence[Label]) -> Command:
    """Add a version of the support plan; earlier versions stay."""

    async def command(change: Change) -> None:
        change.permit("update", "plan")
        if labels:
            change.permit("label", "item")
        change.require_match()
        require_status(change, Status.ACTIVE)
        if len(change.record.plan) >= MOST_VERSIONS:
            raise Conflict(f"a plan has at most {MOST_VERSIONS} versions")
        pen = change.pen()
        text = msgspec.json.encode({"goals": goals, "actions": actions}).decode()
        plan_id = change.desk.runtime.effects.new_id()
        change.made["plan_id"] = plan_id
        change.about("plan", plan_id)
        payload = PlanWritten(
            plan_id=plan_id,
            status=status,
            content=await pen.box("content", text, sensitive=bool(labels)),
            author=change.by,
            labels=ordered(labels),
        )
        change.write(payload, pen)

    return command


def notify_prosecution(*, notified: bool) -> Command:
    """Notify the case for potential prosecution, or withdraw the notice."""

    async def command(change: Change) -> None:
        change.permit("notify_prosecution", "case")
        change.require_match()
        require_status(change, Status.ACTIVE)
        if change.record.notified is notified:
            raise Conflict
        change.write(e.ProsecutionNotified() if notified else e.ProsecutionNoticeWithdrawn())

    return command


def move(organisation_id: UUID) -> Command:
    """Move the case from its ASP to another whose catchment holds the school (AC-DO-7)."""

    async def command(change: Change) -> None:
        change.permit("move", "case")
        _require_asp(change)
        await require_provider(change, organisation_id, asp_only=True, sees_all=True)
        require_status(change, Status.ACTIVE)
        if organisation_id == change.record.provider_id:
            raise Conflict
        change.write(e.CaseMoved(provider_id=organisation_id, by=change.by))

    return command


def _require_asp(change: Change) -> None:
    """Raise :class:`Forbidden` for a case that an ISP has: no clause moves one out of a school."""
    provider_id = change.record.provider_id
    provider = provider_id and change.loaded.organisations.get(provider_id)
    if not provider or provider.kind is not OrganisationKind.ASP:
        raise Forbidden


def close(outcome: str) -> Command:
    """End work on the case, with its outcome."""

    async def command(change: Change) -> None:
        change.permit("close", "case")
        require_status(change, Status.ACTIVE)
        pen = change.pen()
        change.write(e.CaseClosed(outcome=await pen.box("outcome", outcome)), pen)

    return command


def withdraw(reason: str) -> Command:
    """Withdraw a case that was opened in error: closed to all but audit (AC-DO-14)."""

    async def command(change: Change) -> None:
        change.permit("withdraw", "case")
        change.require_match()
        pen = change.pen()
        change.write(e.CaseWithdrawn(reason=await pen.box("reason", reason)), pen)

    return command
