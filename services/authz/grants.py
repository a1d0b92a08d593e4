"""Grants, revocations, and the decisions of leaders that the office carries them out on.

AC-DO-1: a school's leader decides which staff have access. AC-DO-3: the office carries it out on a
recorded decision, which names person, role and expiry, and serves once. AC-DO-5: an ASP's lead has
the ASP's staff. AC-DO-16: an administrator has the Ministry's, and an organisation's *first* leader
or lead. Nobody names themselves. A grant can end by itself (SG-14); a revocation ends access in
every process at once, and a person left without any assignment is logged out (SG-3).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request

from services.authz import events as e
from services.authz.administration import GRANT, REVOKE, AccessDecision
from services.authz.desk import Asked, Desk, Hearing
from services.authz.directory import Assignment, Organisation, Person
from services.authz.people import ended_sessions, person_stream
from services.authz.recording import data_of, person_object
from services.authz.relations import LEAD, Decision, FactsOf, fits
from services.authz.staff_views import AssignmentView, over, version_of, view_of
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, Malformed, NotFound, Problem
from services.kernel.etags import require_match
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made


@dataclass(frozen=True, slots=True)
class Grant:
    """A person is to hold a role at an organisation from a moment (now) until a moment (open)."""

    person_id: UUID
    role: e.Role
    organisation_id: UUID
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    decision_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Decide:
    """A leader decides that a person is to have, or to lose, a role."""

    person_id: UUID
    role: e.Role
    organisation_id: UUID
    expires_at: datetime
    change: str = GRANT


@dataclass(frozen=True, slots=True)
class Granted:
    """An assignment, and its entity tag for this caller."""

    assignment: AssignmentView
    etag: str


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to change: whose role, where, and whether it is given or taken."""

    person: Person
    role: e.Role
    organisation: Organisation
    change: str


class Grants:
    """Commands about who has access."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def grant(self, visit: Visit, attempt: Attempt | None, command: Grant) -> Granted:
        """Give a person a role. Raises as the contract orders; 409 when they hold it already."""
        assignment_id = self._desk.runtime.effects.new_id()

        async def decide(hearing: Hearing) -> Draft[Granted]:
            organisation = await hearing.sees_organisation(command.organisation_id)
            person = await hearing.knows(command.person_id)
            if organisation is None or person is None:
                return await hearing.refuse(NotFound())
            wanted = _assignment(assignment_id, command, hearing.facts.now)
            ends_first = wanted.ends_at is not None and wanted.ends_at <= wanted.starts_at
            if ends_first or not fits(command.role, organisation.kind):
                return await hearing.refuse(Malformed())
            change = _Change(person, command.role, organisation, GRANT)
            decision, used = await _may_change(hearing, change, command.decision_id)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            if any(_clash(held, wanted, hearing.facts.now) for held in person.assignments):
                return await hearing.refuse(Conflict())
            return await self._granted(hearing, decision, person, wanted, used)

        async def repeat(hearing: Hearing, made: Made) -> Draft[Granted]:
            return await self._repeated(hearing, command, made["assignment"])

        asked = Asked("grant", person_object(command.person_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, repeat)

    async def _granted(
        self,
        hearing: Hearing,
        decision: Decision,
        person: Person,
        wanted: Assignment,
        used: UUID | None,
    ) -> Draft[Granted]:
        data = e.AssignmentGranted(
            assignment_id=wanted.id,
            person_id=person.id,
            role=wanted.role,
            organisation_id=wanted.organisation_id,
            starts_at=wanted.starts_at,
            ends_at=wanted.ends_at,
            decision_id=used,
        )
        event = await hearing.event(
            e.ASSIGNMENT_GRANTED,
            decision,
            data=data_of(data),
            stream=(person_stream(person.id), person.version + 1),
            touches=_touched(person.id, wanted.organisation_id, used),
            effective_at=wanted.starts_at,
            organisation_id=wanted.organisation_id,
        )
        reply = self._reply(hearing, person.id, wanted)
        return hearing.draft([event], reply, {"assignment": wanted.id})

    def _reply(self, hearing: Hearing, person_id: UUID, assignment: Assignment) -> Granted:
        view = view_of(person_id, assignment)
        return Granted(view, version_of(self._desk, hearing.visit, view))

    async def _repeated(
        self, hearing: Hearing, command: Grant, assignment_id: UUID
    ) -> Draft[Granted]:
        """Show the assignment that was granted, to who still sees the staff list it is on."""
        person = await hearing.knows(command.person_id)
        towards = hearing.standing.towards((command.organisation_id,))
        decision = hearing.standing.may("read", "staff", towards)
        held = _find(person, assignment_id)
        if person is None or held is None or not decision.allowed:
            return await hearing.refuse(NotFound())
        shown = {"assignment": [str(assignment_id)]}
        reply = self._reply(hearing, person.id, held)
        return await hearing.disclose(decision, reply, shown, (), command.organisation_id)

    async def revoke(
        self,
        visit: Visit,
        person_id: UUID,
        assignment_id: UUID,
        request: Request,
        decision_id: UUID | None,
    ) -> None:
        """Take an assignment away, at once; ``If-Match`` names the version the caller saw."""

        async def decide(hearing: Hearing) -> Draft[None]:
            person = await hearing.knows(person_id)
            held = _find(person, assignment_id)
            # An assignment that is not there and one elsewhere are as long in being refused.
            place = await hearing.organisation(held.organisation_id if held else assignment_id)
            if person is None or held is None or place is None:
                return await hearing.refuse(NotFound())
            if over(held, hearing.facts.now) or not _sees(hearing, person, place):
                return await hearing.refuse(NotFound())
            change = _Change(person, held.role, place, REVOKE)
            decision, used = await _may_change(hearing, change, decision_id)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            try:
                require_match(request, self._reply(hearing, person.id, held).etag)
            except Problem as problem:
                return await hearing.refuse(problem)
            return await self._revoked(hearing, decision, person, held, used)

        asked = Asked("revoke", person_object(person_id))
        await self._desk.hear_once(visit, asked, None, decide, _never)

    async def _revoked(
        self,
        hearing: Hearing,
        decision: Decision,
        person: Person,
        held: Assignment,
        used: UUID | None,
    ) -> Draft[None]:
        data = e.AssignmentRevoked(assignment_id=held.id, person_id=person.id, decision_id=used)
        event = await hearing.event(
            e.ASSIGNMENT_REVOKED,
            decision,
            data=data_of(data),
            stream=(person_stream(person.id), person.version + 1),
            touches=_touched(person.id, held.organisation_id, used),
            organisation_id=held.organisation_id,
        )
        now = hearing.facts.now
        left = any(a.id != held.id and not over(a, now) for a in person.assignments)
        ended = (
            []
            if left
            else await ended_sessions(self._desk, hearing, decision, person.id, "revoked")
        )
        return hearing.draft([*ended, event], None)

    async def decide(self, visit: Visit, attempt: Attempt | None, command: Decide) -> UUID:
        """Record a leader's decision (AC-DO-3) and return its id."""
        decision_id = self._desk.runtime.effects.new_id()

        async def decide(hearing: Hearing) -> Draft[UUID]:
            organisation = await hearing.sees_organisation(command.organisation_id)
            person = await hearing.knows(command.person_id)
            if organisation is None or person is None:
                return await hearing.refuse(NotFound())
            late = command.expires_at <= hearing.facts.now
            if late or not fits(command.role, organisation.kind):
                return await hearing.refuse(Malformed())
            change = _Change(person, command.role, organisation, command.change)
            decision = _allowed(hearing, change, "create", "access_decision", leaderless=False)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            fields = {f: getattr(command, f) for f in Decide.__slots__}
            data = e.AccessDecisionRecorded(decision_id=decision_id, **fields)
            event = await hearing.event(
                e.ACCESS_DECISION_RECORDED,
                decision,
                data=data_of(data),
                stream=(f"decision:{decision_id}", 1),
                touches=(e.decision_key(decision_id),),
                organisation_id=organisation.id,
            )
            return hearing.draft([event], decision_id, {"decision": decision_id})

        async def repeat(hearing: Hearing, made: Made) -> Draft[UUID]:
            towards = hearing.standing.towards((command.organisation_id,))
            decision = hearing.standing.may("read", "staff", towards)
            if await hearing.knows(command.person_id) is None or not decision.allowed:
                return await hearing.refuse(NotFound())
            reply = made["decision"]
            return await hearing.disclose(decision, reply, {"decision": [str(reply)]})

        asked = Asked("create", ObjectRef("access_decision", str(decision_id)))
        return await self._desk.hear_once(visit, asked, attempt, decide, repeat)


def _allowed(
    hearing: Hearing,
    change: _Change,
    action: str,
    object_: str = "assignment",
    *,
    leaderless: bool,
    decided: bool = False,
) -> Decision:
    near = hearing.standing.changing(
        change.organisation, change.role, change.person, leaderless=leaderless
    )
    facts: FactsOf = (lambda a: [*near(a), "decided"]) if decided else near
    return hearing.standing.may(action, object_, facts)


async def _may_change(
    hearing: Hearing, change: _Change, decision_id: UUID | None
) -> tuple[Decision, UUID | None]:
    """Decide on a grant or a revocation; say also which leader's decision it used up, if any.

    A decision is used only by whom the policy would not let act without it.
    """
    lead = LEAD.get(change.organisation.kind)
    leaderless = lead is change.role and not await hearing.facts.holders(
        change.organisation.id, lead
    )
    alone = _allowed(hearing, change, change.change, leaderless=leaderless)
    if alone.allowed or decision_id is None:
        return alone, None
    decided = await _decided(hearing, change, decision_id)
    with_it = _allowed(
        hearing, change, change.change, leaderless=leaderless, decided=decided is not None
    )
    if decided is not None and with_it.allowed:
        hearing.valid_until = min(hearing.valid_until, decided.expires_at)
        hearing.once.append(f"access decision:{decision_id}".encode())
        return with_it, decision_id
    return with_it, None


async def _decided(hearing: Hearing, change: _Change, decision_id: UUID) -> AccessDecision | None:
    """Return the decision if it says just this, has not served, and its leader still leads."""
    hearing.guards.append(e.decision_key(decision_id))
    found = await hearing.facts.decision(decision_id)
    if found is None:
        return None
    leader = await hearing.person(found.decided_by)
    post = _find(leader, found.decided_as)
    names = (found.person_id, found.role, found.organisation_id, found.change)
    wanted = (change.person.id, change.role, change.organisation.id, change.change)
    leads = (
        leader is not None
        and post is not None
        and not leader.suspended
        and post.in_force(hearing.facts.now)
    )
    fresh = not found.served and hearing.facts.now < found.expires_at
    return found if names == wanted and leads and fresh else None


def _assignment(assignment_id: UUID, command: Grant, now: datetime) -> Assignment:
    """Return the assignment asked for; none begins before it is granted."""
    starts_at = max(command.starts_at or now, now)
    return Assignment(
        assignment_id, command.role, command.organisation_id, starts_at, command.ends_at
    )


def _clash(held: Assignment, wanted: Assignment, now: datetime) -> bool:
    """Say whether the same role at the same organisation is held at some moment of ``wanted``."""
    same = (held.role, held.organisation_id) == (wanted.role, wanted.organisation_id)
    begins = held.ends_at is None or wanted.starts_at < held.ends_at
    ends = wanted.ends_at is None or held.starts_at < wanted.ends_at
    return same and not over(held, now) and begins and ends


def _find(person: Person | None, assignment_id: UUID) -> Assignment | None:
    held = () if person is None else person.assignments
    return next((a for a in held if a.id == assignment_id), None)


def _sees(hearing: Hearing, person: Person, place: Organisation) -> bool:
    towards = hearing.standing.towards((place.id,))
    itself = person.id == hearing.visit.person_id
    return itself or hearing.standing.may("read", "staff", towards).allowed


def _touched(person_id: UUID, organisation_id: UUID, used: UUID | None) -> tuple[str, ...]:
    """Return what a change of access touches: who, where, and the decision it used up."""
    keys = (e.person_key(person_id), e.organisation_key(organisation_id))
    return keys if used is None else (*keys, e.decision_key(used))


async def _never(hearing: Hearing, made: Made) -> Draft[Any]:
    """Stand where a repeat would: without an Idempotency-Key there is none."""
    raise NotImplementedError
