"""Revocations: an assignment taken away, at once, in every process (SG-3).

AC-DO-1, 3, 5 and 16 say by whom. Place in the flow: the assignment is found where the caller sees
it, the change is judged as a grant's is, ``If-Match`` names the version the caller saw, and a
person left without any assignment is logged out in the same append.
"""

from typing import Any
from uuid import UUID

from starlette.requests import Request

from services.authz import events as e
from services.authz.access_changes import (
    Change,
    Opened,
    assignment_in,
    fact,
    judged,
    staff_list,
)
from services.authz.access_rulings import by
from services.authz.administration import REVOKE
from services.authz.desk import Command, Desk
from services.authz.directory import Assignment, Organisation, Person
from services.authz.hearing import Asked, Hearing
from services.authz.people import ended_sessions
from services.authz.recording import person_object
from services.authz.staff_views import version_of, view_of
from services.authz.visits import Visit
from services.kernel.errors import NotFound, Problem
from services.kernel.etags import require_match
from services.kernel.events import Event
from services.kernel.handling import Draft
from services.kernel.idempotency import Made


class Revocations:
    """The command that takes an assignment away."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def revoke(
        self,
        visit: Visit,
        person_id: UUID,
        assignment_id: UUID,
        request: Request,
        decision_id: UUID | None,
    ) -> None:
        """Take an assignment away, at once; ``If-Match`` names the version the caller saw."""

        async def judge(hearing: Hearing, _: Made | None) -> Opened | Problem:
            found = await _found(hearing, person_id, assignment_id)
            if found is None:
                return NotFound()
            person, held, place = found
            change = Change(person, held.role, place, REVOKE, held)
            return await judged(hearing, change, by(decision_id))

        async def act(hearing: Hearing, about: Opened) -> Draft[None]:
            person, held = about.change.person, about.change.held
            assert held is not None  # noqa: S101 - as it was found
            try:
                require_match(request, version_of(self._desk, visit, view_of(person.id, held)))
            except Problem as problem:
                return await hearing.refuse(problem)
            return await self._revoked(hearing, about, held)

        asked = Asked("revoke", person_object(person_id))
        await self._desk.hear_once(visit, asked, None, Command(judge, act, _never))

    async def _revoked(self, hearing: Hearing, about: Opened, held: Assignment) -> Draft[None]:
        person = about.change.person
        data = e.AssignmentRevoked(
            assignment_id=held.id, person_id=person.id, decision_id=about.used
        )
        event = await fact(hearing, about, e.ASSIGNMENT_REVOKED, data)
        return hearing.draft([*await self._logged_out(hearing, about, held), event], None)

    async def _logged_out(self, hearing: Hearing, about: Opened, held: Assignment) -> list[Event]:
        """Return the ends of the person's sessions, unless an assignment is left."""
        person, now = about.change.person, hearing.facts.now
        if any(a.id != held.id and not a.has_ended(now) for a in person.assignments):
            return []
        return await ended_sessions(self._desk, hearing, about.decision, person, "revoked")


async def _found(
    hearing: Hearing, person_id: UUID, assignment_id: UUID
) -> tuple[Person, Assignment, Organisation] | None:
    """Return an assignment that is not over, where the caller sees it: their own, or on a list.

    One that is not there and one elsewhere are as long in being refused.
    """
    person = await hearing.knows(person_id)
    held = assignment_in(person, assignment_id)
    place = await hearing.organisation(held.organisation_id if held else assignment_id)
    if person is None or held is None or place is None or held.has_ended(hearing.facts.now):
        return None
    seen = person.id == hearing.visit.person_id or staff_list(hearing, place.id, person).allowed
    return (person, held, place) if seen else None


async def _never(hearing: Hearing, about: Opened, made: Made) -> Draft[Any]:
    """Stand where a repeat would: without an Idempotency-Key there is none."""
    raise NotImplementedError
