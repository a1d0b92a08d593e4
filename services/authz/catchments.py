"""The catchments of providers: who serves which school, from when until when (AC-DO-16).

Changed and seen by the Ministry's administrators. Every change is a fact of the provider's stream
``organisation:<id>`` and moves no case by itself; what is seen is recorded for the Ministry alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.catchment_views import Catchment, Key
from services.authz.desk import Command, Desk
from services.authz.directory import Organisation
from services.authz.events import OrganisationKind
from services.authz.hearing import Asked, Hearing
from services.authz.recording import data_of, organisation_stream
from services.authz.relations import Decision
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, Malformed, NotFound, Problem
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

_PROVIDERS: Final = (OrganisationKind.ASP, OrganisationKind.ISP)


@dataclass(frozen=True, slots=True)
class Serve:
    """A provider is to serve a school; the same beginning again changes the end.

    An end without a beginning is that of the entry in force, or of the next one to come.
    """

    provider_id: UUID
    school_id: UUID
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class CatchmentPage:
    """Entries of catchments, and after which there are more."""

    items: list[Catchment]
    after: Key | None


class _Parties(NamedTuple):
    """By what the caller may let whom serve whom."""

    decision: Decision
    provider: Organisation
    school: Organisation


class Catchments:
    """Commands and queries about catchments."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(
        self, visit: Visit, organisation_id: UUID, after: Key | None, limit: int
    ) -> CatchmentPage:
        """Return the entries that name an organisation: what it serves, or who serves it.

        What is over and what never began is among them. Raises :class:`NotFound` for whoever is no
        administrator of the Ministry.
        """

        async def decide(hearing: Hearing) -> Draft[CatchmentPage]:
            standing = hearing.standing
            decision = hearing.may("read", "catchment", standing.towards(()))
            organisation = await hearing.organisation(organisation_id)
            if organisation is None or not decision.allowed:
                return await hearing.refuse(NotFound())
            hearing.guards.append(e.catchment_key(organisation_id))
            known = await hearing.facts.catchments.naming(organisation_id, organisation_id)
            rest = sorted((c for c in known if after is None or c.key > after), key=lambda c: c.key)
            items = rest[:limit]
            page = CatchmentPage(items, items[-1].key if len(rest) > limit else None)
            served = {o for c in items for o in (c.school_id, c.provider_id)} - {organisation_id}
            shown = {"catchment": sorted(map(str, served))}
            return await hearing.disclose(decision, page, shown)

        asked = Asked("list", ObjectRef("catchment", str(organisation_id)))
        return await self._desk.hear(visit, asked, decide)

    async def serve(self, visit: Visit, attempt: Attempt | None, command: Serve) -> Catchment:
        """Put a school into a provider's catchment from a moment until a moment (AC-DO-16).

        Raises :class:`Malformed` when one is no provider or the other no school, and
        :class:`Conflict` when another provider of that kind serves the school meanwhile, or an ISP
        would serve a second school, when there is nothing for an end in the past to end, and when
        all of it stands already.
        """

        async def judge(hearing: Hearing, _: Made | None) -> _Parties | Problem:
            return await _parties(hearing, command)

        async def act(hearing: Hearing, parties: _Parties) -> Draft[Catchment]:
            return await _serve(hearing, parties, command)

        asked = Asked("update", ObjectRef("organisation", str(command.provider_id)))
        return await self._desk.hear_once(visit, asked, attempt, Command(judge, act, _again))


async def _parties(hearing: Hearing, command: Serve) -> _Parties | Problem:
    """Return who is to serve whom; the problem it is refused with otherwise."""
    provider = await hearing.sees_organisation(command.provider_id)
    school = await hearing.sees_organisation(command.school_id)
    if provider is None or school is None:
        return NotFound()
    if provider.kind not in _PROVIDERS or school.kind is not OrganisationKind.SCHOOL:
        return Malformed()
    decision = hearing.may("create", "catchment", hearing.standing.at_the_ministry)
    return _Parties(decision, provider, school) if decision.allowed else Forbidden()


async def _serve(hearing: Hearing, parties: _Parties, command: Serve) -> Draft[Any]:
    decision, provider, school = parties
    hearing.guards.append(e.catchment_key(school.id))
    known = await hearing.facts.catchments.naming(school.id, provider.id)
    entries = _entries(known, command)
    wanted = _wanted(hearing, command, entries)
    if (
        wanted is None
        or wanted in entries
        or await _collides(hearing, known, wanted, provider.kind)
    ):
        return await hearing.refuse(Conflict())
    stream = organisation_stream(provider.id)
    event = await hearing.event(
        e.CATCHMENT_CHANGED,
        decision,
        data=data_of(
            e.CatchmentChanged(
                provider_id=provider.id,
                school_id=school.id,
                starts_at=wanted.starts_at,
                ends_at=wanted.ends_at,
            )
        ),
        stream=(stream, await hearing.facts.stream_version(stream) + 1),
        touches=(e.catchment_key(school.id), e.organisation_key(provider.id)),
        effective_at=wanted.starts_at,
        organisation_id=provider.id,
    )
    return hearing.draft([event], wanted, {"change": event.id})


def _entries(known: Sequence[Catchment], command: Serve) -> list[Catchment]:
    """Return when this provider serves this school, in order; what never began is none."""
    named = (command.school_id, command.provider_id)
    mine = [c for c in known if (c.school_id, c.provider_id) == named and c.begins()]
    return sorted(mine, key=lambda c: c.key)


def _wanted(hearing: Hearing, command: Serve, entries: Sequence[Catchment]) -> Catchment | None:
    """Return the entry as it is to be; ``None`` where that would be over before it began.

    An end alone is that of the entry in force or next to come; one to come that ends before it
    begins never does.
    """
    now, until = hearing.facts.now, command.ends_at
    named = (command.school_id, command.provider_id)
    if command.starts_at is not None:
        return Catchment(*named, command.starts_at, until)
    entry = next((c for c in entries if c.ends_at is None or c.ends_at > now), None)
    if until is None or entry is None:
        begun = Catchment(*named, now, until)
        return begun if begun.begins() else None
    turns = (t for t in (entry.starts_at, entry.ends_at) if t is not None and t > now)
    hearing.valid_until = min([hearing.valid_until, *turns])
    ended = Catchment(*named, entry.starts_at, max(until, entry.starts_at))
    return ended if ended.begins() or entry.starts_at > now else None


async def _collides(
    hearing: Hearing, known: Sequence[Catchment], wanted: Catchment, kind: OrganisationKind
) -> bool:
    """Say whether somebody else serves the school meanwhile, or the ISP another school."""
    others = [c for c in known if c.begins() and c.overlaps(wanted) and not _same(c, wanted)]
    kinds = await hearing.facts.kinds({c.provider_id for c in others})
    return any(
        kinds.get(c.provider_id) is kind
        if c.school_id == wanted.school_id
        else kind is OrganisationKind.ISP
        for c in others
    )


def _same(one: Catchment, other: Catchment) -> bool:
    return msgspec.structs.replace(one, ends_at=other.ends_at) == other


async def _again(hearing: Hearing, parties: _Parties, made: Made) -> Draft[Any]:
    """Show the entry that was made or changed, as it is now.

    Keys of before 0.1 kept nothing that names it: all that is known is that it was done.
    """
    if "change" not in made:
        return await hearing.refuse(Conflict())
    hearing.guards.append(e.catchment_key(parties.school.id))
    entry = await hearing.facts.catchments.changed_by(made["change"])
    if entry is None:
        return await hearing.refuse(NotFound())
    shown = {"catchment": [str(entry.school_id)]}
    return await hearing.disclose(parties.decision, entry, shown)
