"""Rulings on grants and revocations: by the policy alone, or on a leader's recorded decision.

AC-DO-1 and 5: who manages the staff of a place. AC-DO-3: the office carries out what a leader
decided, once and while that serves. AC-DO-16: an organisation's first leader or lead. Place in the
flow: the opening of a change asks it; it asks the policy, and adds to the hearing what a decision
that serves makes the answer rest on. Changes nothing by itself.
"""

from datetime import datetime
from uuid import UUID

from services.authz import events as e
from services.authz.access_changes import Change, Judge, Ruling, allowed, assignment_in
from services.authz.administration import AccessDecision
from services.authz.directory import Person
from services.authz.hearing import Hearing
from services.authz.roles import LEAD


def by(decision_id: UUID | None) -> Judge:
    """Return who judges a grant or a revocation that names ``decision_id``.

    A decision is used only by whom the policy would not let act without it.
    """

    async def judge(hearing: Hearing, change: Change) -> Ruling:
        first = await _of_the_first(hearing, change)
        alone = allowed(hearing, change, change.change, "assignment", first=first)
        if alone.allowed or decision_id is None:
            return Ruling(alone)
        if not await _decided(hearing, change, decision_id):
            return Ruling(alone)
        with_it = allowed(hearing, change, change.change, "assignment", first=first, decided=True)
        return Ruling(with_it, decision_id if with_it.allowed else None)

    return judge


async def _of_the_first(hearing: Hearing, change: Change) -> bool:
    """Say whether it is about an organisation's first leader or lead (AC-DO-16).

    Given while there is none; taken back while it is still the only grant of that post since.
    """
    if LEAD.get(change.organisation.kind) is not change.role:
        return False
    if change.held is not None:
        return await hearing.facts.posts.first_lead(change.organisation.id) == change.held.id
    return not await hearing.facts.posts.filled(change.organisation.id, change.role)


async def _decided(hearing: Hearing, change: Change, decision_id: UUID) -> bool:
    """Say whether a leader's decision serves for ``change`` now, or served when that was done."""
    hearing.guards.append(e.decision_key(decision_id))
    found = await hearing.facts.decision(decision_id)
    if found is None:
        return False
    if change.done:
        return found.served and says(found, change)
    leader = await hearing.person(found.decided_by)
    until = serves_until(found, leader, change, hearing.facts.now)
    if until is None:
        return False
    hearing.valid_until = min(hearing.valid_until, until)
    hearing.once.append(f"access decision:{decision_id}".encode())
    return True


def says(found: AccessDecision, change: Change) -> bool:
    """Say whether a decision names just this change."""
    names = (found.person_id, found.role, found.organisation_id, found.change)
    return names == (change.person.id, change.role, change.organisation.id, change.change)


def serves_until(
    found: AccessDecision, leader: Person | None, change: Change, now: datetime
) -> datetime | None:
    """Return until when a decision serves, if it says just this and its leader still leads.

    It has not served yet, and falls with the assignment it was made in.
    """
    post = assignment_in(leader, found.decided_as)
    if leader is None or leader.suspended or post is None or not post.in_force(now):
        return None
    until = min(found.expires_at, post.ends_at or found.expires_at)
    return until if says(found, change) and not found.served and now < until else None
