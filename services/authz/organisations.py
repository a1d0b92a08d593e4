"""Organisations and the catchments of providers: who exists, and who serves whom from when.

Registered by administrators (AC-DO-16); seen by those who belong to them. Every change is a fact of
the stream ``organisation:<id>``; a change of a catchment moves no case by itself.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.desk import Asked, Desk, Hearing
from services.authz.directory import Organisation
from services.authz.events import OrganisationKind
from services.authz.recording import data_of, organisation_stream
from services.authz.snapshot import Catchment
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, Malformed, NotFound
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

_PROVIDERS: Final = (OrganisationKind.ASP, OrganisationKind.ISP)
_ALL: Final = ObjectRef("organisation", "*")


@dataclass(frozen=True, slots=True)
class Register:
    """An organisation as it is to be registered."""

    kind: OrganisationKind
    name: str
    time_zone: str
    holiday_subdivision: str | None
    phone: str | None
    address: str | None
    region: str | None


@dataclass(frozen=True, slots=True)
class Serve:
    """A provider is to serve a school; the same beginning again changes the end."""

    provider_id: UUID
    school_id: UUID
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Organisations, and the id after which there are more."""

    items: list[Organisation]
    after: UUID | None


class Organisations:
    """Commands and queries about organisations."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, visit: Visit, after: UUID | None, limit: int) -> Page:
        """Return the organisations the caller belongs to, or all of them for an administrator."""

        async def decide(hearing: Hearing) -> Draft[Page]:
            standing = hearing.standing
            everything = standing.may("read", "organisation", standing.towards(()))
            own = {a.organisation_id for a in hearing.facts.caller.assignments}
            decision = everything
            if not decision.allowed:
                decision = standing.every("read", "organisation", standing.towards(own))
            ids = None if everything.allowed else own if decision.allowed else ()
            found = await hearing.facts.organisations(ids, after, limit + 1)
            page = Page(found[:limit], found[limit - 1].id if len(found) > limit else None)
            shown = {"organisation": [str(o.id) for o in page.items]}
            return await hearing.disclose(decision, page, shown)

        return await self._desk.hear(visit, Asked("list", _ALL), decide)

    async def one(self, visit: Visit, organisation_id: UUID) -> Organisation:
        """Return one organisation; raise :class:`NotFound` unless the caller sees it."""
        return await self._desk.hear(
            visit,
            Asked("read", _reference(organisation_id)),
            lambda hearing: _show(hearing, organisation_id),
        )

    async def register(
        self, visit: Visit, attempt: Attempt | None, command: Register
    ) -> Organisation:
        """Register an organisation (AC-DO-16)."""
        new_id = self._desk.runtime.effects.new_id()

        async def decide(hearing: Hearing) -> Draft[Organisation]:
            standing = hearing.standing
            decision = standing.may("create", "organisation", standing.at_the_ministry)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            fields = {f: getattr(command, f) for f in Register.__slots__}
            data = e.OrganisationRegistered(organisation_id=new_id, **fields)
            event = await hearing.event(
                e.ORGANISATION_REGISTERED,
                decision,
                data=data_of(data),
                stream=(organisation_stream(new_id), 1),
                touches=(e.organisation_key(new_id),),
                organisation_id=new_id,
            )
            made = Organisation(id=new_id, version=1, **fields)
            return hearing.draft([event], made, {"organisation": new_id})

        async def repeat(hearing: Hearing, made: Made) -> Draft[Organisation]:
            return await _show(hearing, made["organisation"])

        asked = Asked("create", _reference(new_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, repeat)

    async def serve(self, visit: Visit, attempt: Attempt | None, command: Serve) -> Catchment:
        """Put a school into a provider's catchment from a moment until a moment (AC-DO-16).

        Raises :class:`Malformed` when one is no provider or the other no school, and
        :class:`Conflict` when another provider of that kind serves the school meanwhile, or an ISP
        would serve a second school.
        """

        async def decide(hearing: Hearing) -> Draft[Catchment]:
            return await _serve(hearing, command)

        async def repeat(hearing: Hearing, made: Made) -> Draft[Catchment]:
            return await _repeated(hearing, command, made["provider"])

        asked = Asked("update", _reference(command.provider_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, repeat)


def _reference(organisation_id: UUID) -> ObjectRef:
    return ObjectRef("organisation", str(organisation_id))


async def _show(hearing: Hearing, organisation_id: UUID) -> Draft[Organisation]:
    organisation = await hearing.sees_organisation(organisation_id)
    if organisation is None:
        return await hearing.refuse(NotFound())
    standing = hearing.standing
    decision = standing.may("read", "organisation", standing.towards((organisation.id,)))
    shown = {"organisation": [str(organisation.id)]}
    return await hearing.disclose(decision, organisation, shown, organisation_id=organisation.id)


async def _serve(hearing: Hearing, command: Serve) -> Draft[Any]:
    provider = await hearing.sees_organisation(command.provider_id)
    school = await hearing.sees_organisation(command.school_id)
    if provider is None or school is None:
        return await hearing.refuse(NotFound())
    if provider.kind not in _PROVIDERS or school.kind is not OrganisationKind.SCHOOL:
        return await hearing.refuse(Malformed())
    standing = hearing.standing
    decision = standing.may("create", "catchment", standing.at_the_ministry)
    if not decision.allowed:
        return await hearing.refuse(Forbidden())
    starts_at = command.starts_at or hearing.facts.now
    wanted = Catchment(school.id, provider.id, starts_at, command.ends_at)
    hearing.guards.append(e.catchment_key(school.id))
    if await _collides(hearing, wanted, provider.kind):
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
    return hearing.draft([event], wanted, {"provider": provider.id})


async def _collides(hearing: Hearing, wanted: Catchment, kind: OrganisationKind) -> bool:
    """Say whether somebody else serves the school meanwhile, or the ISP another school."""
    known = await hearing.facts.catchments(wanted.school_id, wanted.provider_id)
    others = [c for c in known if c.overlaps(wanted) and not _same(c, wanted)]
    kinds = await hearing.facts.kinds({c.provider_id for c in others})
    return any(
        kinds.get(c.provider_id) is kind
        if c.school_id == wanted.school_id
        else kind is OrganisationKind.ISP
        for c in others
    )


def _same(one: Catchment, other: Catchment) -> bool:
    return msgspec.structs.replace(one, ends_at=other.ends_at) == other


async def _repeated(hearing: Hearing, command: Serve, provider_id: UUID) -> Draft[Any]:
    provider = await hearing.sees_organisation(provider_id)
    if provider is None:
        return await hearing.refuse(NotFound())
    standing = hearing.standing
    decision = standing.may("create", "catchment", standing.at_the_ministry)
    if not decision.allowed:
        return await hearing.refuse(Forbidden())
    hearing.guards.append(e.catchment_key(command.school_id))
    known = await hearing.facts.catchments(command.school_id, provider_id)
    mine = [c for c in known if (c.school_id, c.provider_id) == (command.school_id, provider_id)]
    shown = {"catchment": [str(command.school_id)]}
    newest = max(mine, key=lambda c: c.starts_at)
    return await hearing.disclose(decision, newest, shown, organisation_id=provider_id)
