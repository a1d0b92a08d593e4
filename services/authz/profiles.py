"""Profiles of one's staff, corrected at their request (AC-DO-13).

A leader or workflow lead corrects who works at their organisation; everybody corrects themselves
(here, or at ``/v1/me``). Where invitations go is changed by the rule of who is reset: of who is
theirs alone and does not lead. The event names who did it, for which organisation and by which
clause, so it is in the corrected person's accesses and in the corrector's own activity.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec
from starlette.requests import Request

from services.authz import events as e
from services.authz.desk import Desk
from services.authz.directory import Assignment, Person
from services.authz.events import Profile
from services.authz.hearing import Asked, Hearing, Part
from services.authz.me import Change
from services.authz.people import facts_about, next_fact
from services.authz.recording import person_object
from services.authz.registration import has_address
from services.authz.relations import Decision
from services.authz.staff import Staff
from services.authz.staff_sight import Seeing, judged, parts_of, shown_of
from services.authz.staff_views import PersonView, version_of
from services.authz.visits import Visit
from services.kernel.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from services.kernel.etags import require_match
from services.kernel.handling import Draft
from services.kernel.sealing import SealBroken


class Profiles:
    """Commands about profiles."""

    def __init__(self, desk: Desk, staff: Staff) -> None:
        self._desk = desk
        self._staff = staff

    async def correct(
        self, visit: Visit, request: Request, person_id: UUID, change: Change
    ) -> PersonView:
        """Correct the names and contact details of a person; return them as now seen.

        Raises :class:`NotFound` for who is on no list of the caller's, :class:`Forbidden` for who
        may be seen only, and for the address of who leads or also works elsewhere, 428 and 412
        unless ``If-Match`` is the newest tag of the person, and :class:`Conflict` once the person's
        key is destroyed, and for giving somebody else an address of one's own: who is reset gets
        their invitation there.
        """

        async def decide(hearing: Hearing) -> Draft[PersonView]:
            person, seeing = await judged(hearing, person_id)
            if person is None:
                return await hearing.refuse(NotFound())
            view = await self._staff.view(hearing, person, seeing)
            profile = self._staff.profile(person)
            moved = person.id != visit.person_id and change.moves(profile)
            decision = _may_correct(hearing, person, hearing.places(person))
            if moved and decision.allowed:
                decision = await _may_move(hearing, person)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            try:
                require_match(request, version_of(self._desk, visit, view))
            except (PreconditionRequired, PreconditionFailed) as problem:
                return await hearing.refuse(problem)
            if moved and await has_address(self._desk, hearing, change.email or ""):
                return await hearing.refuse(Conflict())
            parts = _parts(decision, view, seeing)
            return await self._corrected(hearing, parts, person, change, (view, profile))

        asked = Asked("update", person_object(person_id))
        return await self._desk.hear(visit, asked, decide)

    async def _corrected(
        self,
        hearing: Hearing,
        parts: Sequence[Part],
        person: Person,
        change: Change,
        before: tuple[PersonView, Profile],
    ) -> Draft[PersonView]:
        keys, event_id = self._desk.runtime.keys, self._desk.runtime.effects.new_id()
        view, former = before
        profile = change.of(former)
        text = msgspec.json.encode(profile).decode()
        try:
            sealed = keys.seal(person.sealed_profile().ref, event_id, "profile", text)
        except SealBroken:
            return await hearing.refuse(Conflict())
        data = e.ProfileCorrected(
            person_id=person.id, profile=sealed, address_changed=change.moves(former)
        )
        fact = (e.PROFILE_CORRECTED, event_id, data)
        own, *others = parts
        event = await next_fact(hearing, own.decision, person, fact, own.shown)
        events = [event, *await hearing.reads(others)]
        return hearing.draft(events, view.corrected(profile))


def _parts(decision: Decision, view: PersonView, seeing: Sequence[Seeing]) -> list[Part]:
    """Return what the posts show that the correction rests on, and then what others do."""
    parts = {part.decision.organisation_id: part for part in parts_of(view, seeing)}
    own = parts.pop(decision.organisation_id, Part(decision, shown_of(view.id, (), contact=True)))
    return [Part(decision.showing(own.decision), own.shown), *parts.values()]


def _may_correct(hearing: Hearing, person: Person, places: Collection[UUID]) -> Decision:
    """Decide by who works where: one's own staff, also those who work elsewhere too, or oneself."""
    towards = hearing.standing.towards(places)
    oneself = ["self"] if person.id == hearing.visit.person_id else []

    def facts(assignment: Assignment) -> Sequence[str]:
        return [*towards(assignment), *oneself]

    return hearing.may("update", "profile", facts)


async def _may_move(hearing: Hearing, person: Person) -> Decision:
    """Decide on another address for somebody else: whoever holds it can become them."""
    return hearing.may("update", "address", await facts_about(hearing, person))
