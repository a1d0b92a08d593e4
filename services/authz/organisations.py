"""Organisations: who exists.

Registered by administrators (AC-DO-16); seen by those who belong to them. Each is the first fact of
the stream ``organisation:<id>``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from services.authz import events as e
from services.authz.desk import Command, Desk
from services.authz.directory import Organisation
from services.authz.events import OrganisationKind
from services.authz.hearing import Asked, Hearing, Part
from services.authz.recording import data_of, organisation_stream
from services.authz.relations import NOTHING, Decision, Standing
from services.authz.visits import Visit
from services.kernel.errors import Forbidden, NotFound, Problem
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

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
class Page:
    """Organisations, and the id after which there are more."""

    items: list[Organisation]
    after: UUID | None


class _View(NamedTuple):
    """Which organisations the posts at one organisation show, ``None`` for all, and why."""

    decision: Decision
    ids: Collection[UUID] | None

    def of(self, page: Page) -> Part:
        """Return what of ``page`` these posts show."""
        seen = (o.id for o in page.items if self.ids is None or o.id in self.ids)
        return Part(self.decision, {"organisation": [str(id_) for id_ in seen]})


class Organisations:
    """Commands and queries about organisations."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, visit: Visit, after: UUID | None, limit: int) -> Page:
        """Return the organisations the caller belongs to, or all of them for an administrator.

        Whose posts are all over is answered with none.
        """

        async def decide(hearing: Hearing) -> Draft[Page]:
            views = [_view(one) for one in hearing.standing.apart()] or [_View(NOTHING, ())]
            everything = any(view.ids is None for view in views)
            ids = None if everything else {id_ for view in views for id_ in view.ids or ()}
            found = await hearing.facts.organisations(ids, after, limit + 1)
            page = Page(found[:limit], found[limit - 1].id if len(found) > limit else None)
            return await hearing.disclose_each([view.of(page) for view in views], page)

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

        async def act(hearing: Hearing, decision: Decision) -> Draft[Organisation]:
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

        async def again(hearing: Hearing, _: Decision, made: Made) -> Draft[Organisation]:
            known = hearing.made_before(_reference(made["organisation"]))
            return await _show(known, made["organisation"])

        asked = Asked("create", _reference(new_id))
        return await self._desk.hear_once(visit, asked, attempt, Command(_may_register, act, again))


async def _may_register(hearing: Hearing, _: Made | None) -> Decision | Problem:
    decision = hearing.may("create", "organisation", hearing.standing.at_the_ministry)
    return decision if decision.allowed else Forbidden()


def _reference(organisation_id: UUID) -> ObjectRef:
    return ObjectRef("organisation", str(organisation_id))


def _view(standing: Standing) -> _View:
    """Return what the posts at one organisation show: all for an administrator, else itself."""
    everything = standing.may("read", "organisation", standing.towards(()))
    if everything.allowed:
        return _View(everything, None)
    own = {a.organisation_id for a in standing.caller.assignments}
    decision = standing.every("read", "organisation", standing.towards(own))
    return _View(decision, own if decision.allowed else ())


async def _show(hearing: Hearing, organisation_id: UUID) -> Draft[Organisation]:
    organisation = await hearing.sees_organisation(organisation_id)
    if organisation is None:
        return await hearing.refuse(NotFound())
    shown = {"organisation": [str(organisation.id)]}
    towards = hearing.standing.towards((organisation.id,))
    parts = [Part(d, shown) for d in hearing.standing.each("read", "organisation", towards)]
    return await hearing.disclose_each(parts, organisation, (), organisation.id)
