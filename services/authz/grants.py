"""Grants: a person is given a role at an organisation, from a moment until a moment.

AC-DO-1: a school's leader decides which staff have access. AC-DO-3: the office carries it out on a
recorded decision. AC-DO-5: an ASP's lead has the ASP's staff. AC-DO-16: an administrator has the
Ministry's, and an organisation's *first* leader or lead. Nobody names themselves. A grant can end
by itself (SG-14). Place in the flow: opened as every change of access is, then one fact of the
person's stream.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.authz import events as e
from services.authz.access_changes import (
    Opened,
    Proposal,
    fact,
    opened,
    staff_list,
)
from services.authz.access_rulings import by
from services.authz.administration import GRANT
from services.authz.desk import Command, Desk
from services.authz.directory import Assignment, Person
from services.authz.hearing import Asked, Hearing
from services.authz.recording import person_object
from services.authz.staff_views import AssignmentView, version_of, view_of
from services.authz.visits import Visit
from services.kernel.errors import Conflict, NotFound, Problem
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

#: assignments of one person, in force or to come, as far as the granter sees them
MOST_HELD: Final = 64


class TooManyAssignments(Conflict):
    """The person holds as many assignments as one person may."""

    code, title = "too_many_assignments", f"The person holds {MOST_HELD} assignments already"


@dataclass(frozen=True, slots=True)
class Grant:
    """A person is to hold a role at an organisation from a moment (now) until a moment (open)."""

    person_id: UUID
    role: e.Role
    organisation_id: UUID
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    decision_id: UUID | None = None

    def proposal(self, now: datetime) -> Proposal:
        """Return what is asked for; no assignment begins before it is granted."""
        starts_at = max(self.starts_at or now, now)
        return Proposal(
            self.person_id, self.role, self.organisation_id, GRANT, starts_at, self.ends_at
        )


@dataclass(frozen=True, slots=True)
class Granted:
    """An assignment, and its entity tag for this caller."""

    assignment: AssignmentView
    etag: str


class Grants:
    """The command that gives a person a role."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def grant(self, visit: Visit, attempt: Attempt | None, command: Grant) -> Granted:
        """Give a person a role. Raises as the contract orders; 409 when they hold it already.

        :class:`TooManyAssignments` when they hold 64, of which those elsewhere, where the caller
        sees no staff list, are not counted: the answer would tell of them.
        """
        assignment_id = self._desk.runtime.effects.new_id()

        async def judge(hearing: Hearing, made: Made | None) -> Opened | Problem:
            proposal = command.proposal(hearing.facts.now)
            return await opened(hearing, proposal, by(command.decision_id), made)

        async def act(hearing: Hearing, about: Opened) -> Draft[Granted]:
            wanted = _assignment(assignment_id, command.proposal(hearing.facts.now))
            held = about.change.person.assignments
            if any(clash(one, wanted, hearing.facts.now) for one in held):
                return await hearing.refuse(Conflict())
            if _held(hearing, about.change.person) >= MOST_HELD:
                return await hearing.refuse(TooManyAssignments())
            return await self._granted(hearing, about, wanted)

        asked = Asked("grant", person_object(command.person_id))
        post = Command(judge, act, self._again)
        return await self._desk.hear_once(visit, asked, attempt, post)

    async def _granted(self, hearing: Hearing, about: Opened, wanted: Assignment) -> Draft[Granted]:
        person = about.change.person
        data = e.AssignmentGranted(
            assignment_id=wanted.id,
            person_id=person.id,
            role=wanted.role,
            organisation_id=wanted.organisation_id,
            starts_at=wanted.starts_at,
            ends_at=wanted.ends_at,
            decision_id=about.used,
        )
        event = await fact(hearing, about, e.ASSIGNMENT_GRANTED, data, wanted.starts_at)
        reply = self._reply(hearing, person.id, wanted)
        return hearing.draft([event], reply, {"assignment": wanted.id})

    def _reply(self, hearing: Hearing, person_id: UUID, assignment: Assignment) -> Granted:
        view = view_of(person_id, assignment)
        return Granted(view, version_of(self._desk, hearing.visit, view))

    async def _again(self, hearing: Hearing, about: Opened, _: Made) -> Draft[Granted]:
        """Show the assignment that was granted, to who still sees the staff list it is on.

        One that is over is on none, and as missing as it is to who asks for the person.
        """
        person, held, place = about.change.person, about.change.held, about.change.organisation.id
        decision = staff_list(hearing, place, person)
        if held is None or held.has_ended(hearing.facts.now) or not decision.allowed:
            return await hearing.refuse(NotFound())
        if held.ends_at is not None:
            hearing.valid_until = min(hearing.valid_until, held.ends_at)
        shown = {"assignment": [str(held.id)]}
        reply = self._reply(hearing, person.id, held)
        return await hearing.disclose(decision, reply, shown, (), place)


def clash(held: Assignment, wanted: Assignment, now: datetime) -> bool:
    """Say whether the same role at the same organisation is held at some moment of ``wanted``."""
    same = (held.role, held.organisation_id) == (wanted.role, wanted.organisation_id)
    begins = held.ends_at is None or wanted.starts_at < held.ends_at
    ends = wanted.ends_at is None or held.starts_at < wanted.ends_at
    return same and not held.has_ended(now) and begins and ends


def _held(hearing: Hearing, person: Person) -> int:
    """Return how many assignments that are not over a person has on staff lists the caller sees."""
    current = [a.organisation_id for a in person.assignments if not a.has_ended(hearing.facts.now)]
    seen = {place for place in set(current) if staff_list(hearing, place, person).allowed}
    return sum(place in seen for place in current)


def _assignment(assignment_id: UUID, asked: Proposal) -> Assignment:
    return Assignment(
        assignment_id, asked.role, asked.organisation_id, asked.starts_at, asked.ends_at
    )
