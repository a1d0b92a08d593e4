"""What may be done to a request for support, from its draft to the case it becomes.

Each function returns a command: it asks for permission, checks that the request is in a state in
which the thing is possible (409), and writes the facts. AC-DO-1 to 7.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.authz import events as authz
from services.authz.events import OrganisationKind, Role
from services.cases import events as e
from services.cases.change import Change, Command
from services.cases.numbers import case_number
from services.cases.record import UNDER_WAY, Status
from services.cases.terms import Staff
from services.kernel.errors import Conflict, Forbidden, NotFound

_PROVIDERS: Final = (OrganisationKind.ASP, OrganisationKind.ISP)
_PROVIDER_ROLES: Final = (
    Role.ASP_WORKFLOW_LEAD,
    Role.ASP_CASE_MANAGER,
    Role.ISP_WORKFLOW_LEAD,
)
_WITH_PROVIDER: Final = (Status.ALLOCATED, Status.ASSIGNED)


def require_status(change: Change, *statuses: Status) -> None:
    """Raise :class:`Conflict` unless the record is in one of ``statuses``."""
    if change.record.status not in statuses:
        raise Conflict


def edit(changes: dict[str, str]) -> Command:
    """Replace fields of the referral: its makers may while it is a draft, its provider later.

    The provider may from the allocation on and, once the request has become a case, for as long as
    that case is active (AC-DO-6).
    """

    async def command(change: Change) -> None:
        record = change.record
        theirs = record.status in _WITH_PROVIDER
        change.permit("update", "request", prefer=_PROVIDER_ROLES if theirs else ())
        change.require_match()
        provider = change.by.role in _PROVIDER_ROLES
        require_status(change, *(_WITH_PROVIDER if provider else (Status.DRAFT,)))
        if record.particulars is not None:
            raise Conflict  # it ended with its case
        if "referral" not in change.sight.parts:
            raise Forbidden
        referral = change.desk.renderer.boxes(record.student_id).json(record.referral)
        if referral is None:
            raise Conflict
        text = msgspec.json.encode({**referral, **changes}).decode()
        pen = change.pen()
        sensitive = bool(record.referral_labels)
        box = await pen.box("referral", text, sensitive=sensitive)
        change.write(e.RequestEdited(referral=box), pen)

    return command


def submit() -> Command:
    """Send a draft to Central Investigation."""

    async def command(change: Change) -> None:
        change.permit("submit", "request")
        require_status(change, Status.DRAFT)
        change.write(e.RequestSubmitted())

    return command


def accept() -> Command:
    """Find that the request meets the criteria."""

    async def command(change: Change) -> None:
        change.permit("accept", "request")
        require_status(change, Status.SUBMITTED)
        change.write(e.RequestAccepted(by=change.by))

    return command


def decline(reason: str) -> Command:
    """Find that it does not meet the criteria, and say why."""

    async def command(change: Change) -> None:
        change.permit("decline", "request")
        require_status(change, Status.SUBMITTED)
        pen = change.pen()
        change.write(e.RequestDeclined(by=change.by, reason=await pen.box("reason", reason)), pen)

    return command


def allocate(organisation_id: UUID) -> Command:
    """Give the request to a provider; a provider's lead may hand it on to another ASP (AC-DO-5)."""

    async def command(change: Change) -> None:
        central = bool(change.sight.ways("allocate", "request"))
        change.permit("allocate" if central else "hand_on", "request")
        await require_provider(change, organisation_id, asp_only=not central, sees_all=central)
        statuses = (Status.ACCEPTED, Status.ALLOCATED) if central else (Status.ALLOCATED,)
        require_status(change, *statuses)
        if organisation_id == change.record.provider_id:
            raise Conflict
        change.write(e.RequestAllocated(provider_id=organisation_id, by=change.by))

    return command


async def require_provider(
    change: Change, organisation_id: UUID, *, asp_only: bool, sees_all: bool
) -> None:
    """Raise unless ``organisation_id`` is a provider whose catchment holds the school now.

    Unknown organisations and those that are no providers are 404; outside the catchment is 409 to
    Central Investigation, who see all providers, and 404 to everybody else.
    """
    loader, asking = change.desk.loader, change.loaded.asking
    school_id = change.record.school_id
    change.guards += [
        authz.organisation_key(organisation_id),
        authz.catchment_key(school_id),
    ]
    organisation = await loader.organisation(asking, organisation_id)
    kinds = _PROVIDERS[:1] if asp_only else _PROVIDERS
    if organisation is None or organisation.kind not in kinds:
        raise NotFound
    if not await loader.serves(asking, organisation_id, school_id, change.now):
        raise Conflict("the school is not in its catchment") if sees_all else NotFound


class Holder(NamedTuple):
    """Somebody of an organisation, with the assignments they hold there now."""

    person_id: UUID
    organisation_id: UUID
    #: by role, the assignment
    held: Mapping[str, UUID]

    def as_(self, role: Role) -> Staff:
        """Return them in ``role``; raise :class:`Conflict` when they hold others only."""
        if role not in self.held:
            raise Conflict
        return Staff(self.held[role], self.person_id, self.organisation_id, role)


async def require_holder(change: Change, organisation_id: UUID, person_id: UUID) -> Holder:
    """Return somebody of ``organisation_id``; whoever is not of it is unknown (404)."""
    change.guards.append(authz.person_key(person_id))
    loader, asking = change.desk.loader, change.loaded.asking
    posts = await loader.people_at(asking, organisation_id, person_id, change.now)
    if not posts:
        raise NotFound
    # of several assignments in one role the longest-standing: first of posts, so put in last
    held = {role: assignment_id for assignment_id, role in reversed(posts)}
    return Holder(person_id, organisation_id, held)


def assign(person_id: UUID) -> Command:
    """Give an allocated request to a case manager; it becomes a case."""

    async def command(change: Change) -> None:
        change.permit("assign", "request")
        record = change.record
        assert record.provider_id is not None  # noqa: S101 - who may assign is of its provider
        holder = await require_holder(change, record.provider_id, person_id)
        require_status(change, Status.ALLOCATED)
        manager = holder.as_(Role.ASP_CASE_MANAGER)
        effects = change.desk.runtime.effects
        case_id = effects.new_id()
        change.made["case_id"] = case_id
        change.write(e.RequestAssigned(case_manager=manager, case_id=case_id))
        change.open(
            e.CaseOpened(
                case_id=case_id,
                number=case_number(effects),
                request_id=record.id,
                student_id=record.student_id,
                school_id=record.school_id,
                provider_id=record.provider_id,
                made_by=record.made_by,
                case_manager=manager,
                referral=record.referral.box,
                referral_labels=record.referral_labels,
                referral_labelled_by=record.referral_labelled_by,
                submitted_at=record.submitted_at,
                reviewed_at=record.reviewed_at,
                allocated_at=record.allocated_at,
            )
        )

    return command


def withdraw(reason: str | None) -> Command:
    """Take the request back, as long as it has not become a case."""

    async def command(change: Change) -> None:
        change.permit("withdraw", "request")
        require_status(change, *UNDER_WAY)
        pen = change.pen()
        box = await pen.box("reason", reason) if reason else None
        change.write(e.RequestWithdrawn(reason=box), pen)

    return command


def delete() -> Command:
    """Throw a draft away."""

    async def command(change: Change) -> None:
        change.permit("delete", "request")
        change.require_match()
        require_status(change, Status.DRAFT)
        change.write(e.RequestDeleted())

    return command
