"""Resets of some or all who work at an organisation, by one act (SG-21).

The act is a fact with its sealed reason; each person's reset is a group of facts of its own, judged
as if it were the only one, and appended some at a time. A process that dies half-way leaves those
done whose facts are in the log; the same request again, under its Idempotency-Key, does the others
and nobody twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from services.authz.credential_events import ORGANISATION_RESET, CredentialsReset, OrganisationReset
from services.authz.desk import Command, Desk
from services.authz.hearing import Asked, Hearing
from services.authz.people import standing_over
from services.authz.recording import data_of
from services.authz.relations import Decision
from services.authz.resets import RESET, Resets, too_often
from services.authz.visits import Visit
from services.kernel.effects import drawn_at
from services.kernel.errors import Forbidden, NotFound, Problem
from services.kernel.events import Event, ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

#: how many are reset by one append
_BATCH: Final = 20
#: what an id leaves out of the time it was drawn at
_DRAWN: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class ResetStaff:
    """Everybody who works at an organisation is to be reset, or those named."""

    organisation_id: UUID
    reason: str
    person_ids: frozenset[UUID] | None = None

    @property
    def extra(self) -> tuple[str, ...]:
        """The fact that nobody was singled out."""
        return ("whole_organisation",) if self.person_ids is None else ()


@dataclass(frozen=True, slots=True)
class StaffReset:
    """An act, and how many were reset by it."""

    act_id: UUID
    count: int


class OrganisationResets:
    """The command that resets many."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._resets = Resets(desk)

    async def reset(self, visit: Visit, attempt: Attempt | None, command: ResetStaff) -> StaffReset:
        """Reset who works at an organisation now, but never the caller; say how many.

        Of all, who is not the caller's to reset (a leader's: who also works elsewhere) is left
        out. Raises :class:`NotFound` for an organisation the caller does not see, and when somebody
        named does not work there; :class:`Forbidden` unless the caller may reset there, and
        everybody named; :class:`TooManyRequests` when one of those was reset too often of late.
        """
        asked = Asked(RESET, ObjectRef("organisation", str(command.organisation_id)))
        act_id = self._desk.runtime.effects.new_id()
        post = Command(
            lambda hearing, _: _seen_and_allowed(hearing, command),
            partial(self._act, command, act_id),
            partial(_again, command),
        )
        act_id = await self._desk.hear_once(visit, asked, attempt, post)
        for ids in _batches(await self._candidates(visit, asked, command, act_id)):
            await self._desk.hear(visit, asked, partial(self._batch, command, act_id, ids))
        done = await self._desk.look(visit, asked, lambda h: h.facts.reset_by(act_id))
        return StaffReset(act_id, len(done))

    async def _act(
        self, command: ResetStaff, act_id: UUID, hearing: Hearing, decision: Decision
    ) -> Draft[UUID]:
        here = await hearing.facts.posts.working_at(command.organisation_id)
        if not (command.person_ids or frozenset()) <= here:
            return await hearing.refuse(NotFound())
        for person_id in sorted(command.person_ids or ()):
            if isinstance(await standing_over(hearing, person_id, RESET), Problem):
                return await hearing.refuse(Forbidden())
            if (often := await too_often(hearing, person_id)) is not None:
                return await hearing.refuse(often)
        event = await self._event(hearing, decision, command, act_id)
        return hearing.draft([event], act_id, {"act": act_id})

    async def _event(
        self, hearing: Hearing, decision: Decision, command: ResetStaff, act_id: UUID
    ) -> Event:
        event_id = self._desk.runtime.effects.new_id()
        data = OrganisationReset(
            act_id=act_id,
            organisation_id=command.organisation_id,
            reason=await self._desk.sealed_reason(
                command.organisation_id, event_id, command.reason
            ),
            named=None if command.person_ids is None else len(command.person_ids),
        )
        return await hearing.event(
            ORGANISATION_RESET,
            decision,
            data=data_of(data),
            stream=(f"reset:{act_id}", 1),
            event_id=event_id,
            organisation_id=command.organisation_id,
        )

    async def _candidates(
        self, visit: Visit, asked: Asked, command: ResetStaff, act_id: UUID
    ) -> list[UUID]:
        """Return who may be among those reset; each is judged again in their batch.

        A repeat goes on with an act that was cut short, and reaches nobody who came after it.
        """
        place, before = command.organisation_id, drawn_at(act_id) + _DRAWN
        here = await self._desk.look(
            visit, asked, lambda h: h.facts.posts.working_at(place, before)
        )
        named = here if command.person_ids is None else here & command.person_ids
        return sorted(named - {visit.person_id})

    async def _batch(
        self, command: ResetStaff, act_id: UUID, ids: Sequence[UUID], hearing: Hearing
    ) -> Draft[None]:
        done = await hearing.facts.reset_by(act_id)
        here = await hearing.facts.posts.working_at(command.organisation_id)
        await hearing.facts.bring(ids)
        events: list[Event] = []
        for person_id in ids:
            over = await standing_over(hearing, person_id, RESET, command.extra)
            if isinstance(over, Problem) or person_id not in here - done:
                continue
            reset_id = self._desk.runtime.effects.new_id()
            data = CredentialsReset(person_id=person_id, act_id=act_id)
            _, facts = await self._resets.facts(hearing, over, (reset_id, data))
            events.extend(facts)
        if not events:
            hearing.only_reads()
            return await hearing.disclose(_may(hearing, command), None, {})
        return hearing.draft(events, None)


async def _again(
    command: ResetStaff, hearing: Hearing, decision: Decision, made: Made
) -> Draft[UUID]:
    place = command.organisation_id
    shown = {"organisation": [str(place)]}
    return await hearing.disclose(decision, made["act"], shown, (), place)


async def _seen_and_allowed(hearing: Hearing, command: ResetStaff) -> Decision | Problem:
    """Return by what the caller may reset there; the problem it is refused with otherwise."""
    if await hearing.sees_organisation(command.organisation_id) is None:
        return NotFound()
    decision = _may(hearing, command)
    return decision if decision.allowed else Forbidden()


def _may(hearing: Hearing, command: ResetStaff) -> Decision:
    towards = hearing.standing.towards((command.organisation_id,))
    return hearing.may(RESET, "organisation", towards)


def _batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[first : first + _BATCH] for first in range(0, len(ids), _BATCH))
