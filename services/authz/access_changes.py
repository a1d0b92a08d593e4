"""Changes of access: what a grant, a revocation and a leader's decision have in common.

Place in the flow: ``command -> opening -> its own facts``. Owns the opening, in the contract's
order: who and where must be known to the caller, the change must make sense, and whoever judges it
for the command must allow it. Appends nothing, and leaves each command's own conditions to it; who
judges a grant or a revocation is :mod:`services.authz.access_rulings`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.directory import Assignment, Organisation, Person
from services.authz.hearing import Hearing
from services.authz.recording import data_of, person_stream
from services.authz.relations import Decision, FactsOf
from services.authz.roles import fits
from services.kernel.errors import Forbidden, Malformed, NotFound, Problem
from services.kernel.events import Event
from services.kernel.idempotency import Made


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change as a command names it: for whom, which role, where, and from when until when."""

    person_id: UUID
    role: e.Role
    organisation_id: UUID
    change: str
    starts_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to change: whose role, where, whether it is given or taken, and the one taken.

    ``done``: it was made before, and a repeat is judged; ``held`` is then the one given.
    """

    person: Person
    role: e.Role
    organisation: Organisation
    change: str
    held: Assignment | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a change is allowed, and which leader's decision it uses up, if any."""

    decision: Decision
    used: UUID | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A change that the caller may see to."""

    change: Change
    decision: Decision
    used: UUID | None


Judge = Callable[[Hearing, Change], Awaitable[Ruling]]


async def opened(
    hearing: Hearing, proposal: Proposal, judge: Judge, made: Made | None = None
) -> Opened | Problem:
    """Return the change proposed, judged; or the problem it is to be refused with.

    ``made`` is what an earlier request made of it: that made sense in its time.
    """
    organisation = await hearing.sees_organisation(proposal.organisation_id)
    person = await hearing.knows(proposal.person_id)
    if organisation is None or person is None:
        return NotFound()
    if made is None and not makes_sense(proposal, organisation.kind):
        return Malformed()
    given = assignment_in(person, made["assignment"]) if made and "assignment" in made else None
    done = made is not None
    change = Change(person, proposal.role, organisation, proposal.change, given, done=done)
    return await judged(hearing, change, judge)


async def judged(hearing: Hearing, change: Change, judge: Judge) -> Opened | Problem:
    """Return ``change`` when the caller may see to it; the problem otherwise."""
    ruling = await judge(hearing, change)
    if not ruling.decision.allowed:
        return Forbidden()
    return Opened(change, ruling.decision, ruling.used)


def makes_sense(proposal: Proposal, kind: e.OrganisationKind) -> bool:
    """Say whether the role can be held there, and whether the change ends after it begins."""
    ends_after = proposal.ends_at is None or proposal.starts_at < proposal.ends_at
    return ends_after and fits(proposal.role, kind)


def allowed(
    hearing: Hearing,
    change: Change,
    action: str,
    object_: str,
    *,
    first: bool = False,
    decided: bool = False,
) -> Decision:
    """Ask the policy about ``change``; ``decided``: on a leader's decision that serves.

    The assignment it rests on is also one through which the caller knows of the person.
    """
    standing = hearing.standing
    near = standing.changing(change.organisation, change.role, change.person, first=first)
    facts: FactsOf = (lambda a: [*near(a), "decided"]) if decided else near
    return hearing.may(action, object_, standing.knowing(hearing.places(change.person), facts))


def assignment_in(person: Person | None, assignment_id: UUID) -> Assignment | None:
    """Return the assignment of that id that a person holds or held."""
    held = () if person is None else person.assignments
    return next((a for a in held if a.id == assignment_id), None)


def staff_list(hearing: Hearing, organisation_id: UUID, person: Person) -> Decision:
    """Decide whether the caller sees the staff list that a change shows on (AC-SEE-7, 11).

    In an assignment through which they know of ``person``.
    """
    standing = hearing.standing
    towards = standing.towards((organisation_id,))
    return standing.may("read", "staff", standing.knowing(hearing.places(person), towards))


async def fact(
    hearing: Hearing,
    about: Opened,
    type_: str,
    data: msgspec.Struct,
    effective_at: datetime | None = None,
) -> Event:
    """Return the fact of a change: the next of the person's stream, of the organisation's concern.

    It touches who, where, and the decision it used up.
    """
    person, place = about.change.person, about.change.organisation.id
    used = () if about.used is None else (e.decision_key(about.used),)
    return await hearing.event(
        type_,
        about.decision,
        data=data_of(data),
        stream=(person_stream(person.id), person.version + 1),
        touches=(e.person_key(person.id), e.organisation_key(place), *used),
        effective_at=effective_at,
        organisation_id=place,
    )
