"""Who works on the school day, who forgot a password, and who does wrong.

Chosen by the seed from the staff in force, so that the same seed gives the same day. The one who
browses at night works where it is night: see :mod:`services.demo.abroad`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from services.audit.detection.calendar import Hours, Reason, outside
from services.demo.caller import Account
from services.demo.credentials import password_for, totp_secret_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from services.demo.records import Assignment, Organisation, Person, Role
    from services.demo.region import Region

#: how many of each role work on a day of scale 1, and on any day at all
_WORKING: Final[dict[Role, tuple[int, int]]] = {
    "school_leader": (16, 1),
    "primary_contact": (12, 1),
    "school_office": (12, 1),
    "asp_workflow_lead": (6, 1),
    "asp_case_manager": (24, 2),
    "central_investigation": (4, 1),
    "security_analyst": (1, 1),
}
_SPRAYED: Final = (40, 12)
_HOME: Final = ("Pacific/Auckland", "Pacific/Chatham")


@dataclass(frozen=True, slots=True)
class Cast:
    """The people of one day.

    ``night`` says why it is out of hours where the browser works, ``shut`` why New Zealand's
    schools are shut, if they are: then everybody logs in out of hours today.
    """

    working: tuple[Account, ...]
    remembers: Account
    gives_up: Account
    browser: Account
    night: Reason | None
    shut: Reason | None
    sprayed: tuple[Account, ...]
    analyst: Account


class Casting:
    """Chooses people; nobody twice."""

    def __init__(self, region: Region, seed: int, day_seed: int, now: datetime) -> None:
        self._seed = seed
        self._draw = Random(f"day:{seed}:{day_seed}")  # noqa: S311 - repeatable on purpose
        self._now = now
        self._places = {o.organisation_id: o for o in region.organisations}
        self._people = region.people
        self._taken: set[UUID] = set()
        self._busy = _busy_places(region)

    def cast(self, scale: float) -> Cast:
        """Return the cast of a day of this scale."""
        browser = self._browser()
        analyst = self._one("security_analyst", kind="ministry")
        working = [
            account
            for role, (usual, fewest) in _WORKING.items()
            for account in self._some(role, max(fewest, round(usual * scale)))
        ]
        remembers = self._one("primary_contact", kind="school")
        gives_up = self._one("school_office", kind="school")
        sprayed = self._sprayed(max(_SPRAYED[1], round(_SPRAYED[0] * min(scale, 1))))
        night = self._shut(browser.held)
        return Cast(
            tuple(working),
            remembers,
            gives_up,
            browser,
            night,
            self._shut(gives_up.held),
            sprayed,
            analyst,
        )

    def _candidates(self, role: Role) -> Iterator[tuple[Person, Assignment]]:
        today = self._now.date()
        for person in self._people:
            if person.person_id in self._taken or len(person.assignments) != 1:
                continue
            held = person.assignments[0]
            if held.role == role and held.in_force(today):
                yield person, held

    def _some(self, role: Role, count: int) -> list[Account]:
        """Choose people of a role: where there is work first, and at home before abroad."""
        found = [
            (person, held)
            for person, held in self._candidates(role)
            if self._place(held).time_zone in _HOME
        ]
        self._draw.shuffle(found)
        found.sort(key=lambda pair: not self._useful(*pair))
        return [self._account(person, held) for person, held in found[:count]]

    def _one(self, role: Role, kind: str) -> Account:
        found = [
            pair
            for pair in self._candidates(role)
            if self._place(pair[1]).kind == kind and self._place(pair[1]).time_zone in _HOME
        ]
        return self._account(*self._draw.choice(found))

    def _browser(self) -> Account:
        """Choose a case manager while New Zealand is shut, else somebody at a desk abroad."""
        roles: tuple[Role, ...] = ("asp_case_manager", "central_investigation", "primary_contact")
        for role in roles:
            found = [pair for pair in self._candidates(role) if self._shut(pair[1]) is not None]
            if role == "central_investigation":
                found = [p for p in found if self._place(p[1]).time_zone not in _HOME]
            at_night = [pair for pair in found if self._shut(pair[1]) is Reason.NIGHT]
            if found:
                return self._account(*self._draw.choice(at_night or found))
        return self._account(*next(self._candidates("asp_case_manager")))

    def _sprayed(self, count: int) -> tuple[Account, ...]:
        """Choose accounts to try a password on, of people who are not at work."""
        found = [
            (person, held)
            for role in ("school_leader", "school_office", "primary_contact")
            for person, held in self._candidates(role)
        ]
        chosen = self._draw.sample(found, min(count, len(found)))
        return tuple(self._account(person, held) for person, held in chosen)

    def _place(self, held: Assignment) -> Organisation:
        return self._places[held.organisation_id]

    def _useful(self, person: Person, held: Assignment) -> bool:
        return person.person_id in self._busy or (
            held.role != "asp_case_manager" and held.organisation_id in self._busy
        )

    def _shut(self, held: Assignment) -> Reason | None:
        place = self._place(held)
        return outside(Hours(place.kind, place.time_zone, place.holidays or None), self._now)

    def _account(self, person: Person, held: Assignment) -> Account:
        self._taken.add(person.person_id)
        return Account(
            person,
            held,
            password_for(self._seed, person.username),
            totp_secret_for(self._seed, person.username),
        )


def _busy_places(region: Region) -> set[UUID]:
    """Return the schools with active cases, their primary contacts, and who manages them."""
    active = [case for case in region.cases if case.status == "active"]
    schools = {case.school_id for case in active}
    contacts = {case.primary_contact_id for case in active if case.primary_contact_id}
    return schools | contacts | {case.case_manager_id for case in active}
