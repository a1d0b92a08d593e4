"""The accounts of the demonstration, as ``casewarden demo --json`` shows them.

Everything follows from the seed and day that the database is marked with; nothing is read from the
log, and nothing here works against an installation that is no demonstration.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from services.demo.abroad import desks
from services.demo.chance import Chance
from services.demo.credentials import (
    SERVICE_CLIENTS,
    password_for,
    secret_for,
    totp_secret_for,
)
from services.demo.schools import build_landscape
from services.demo.staff import build_staff
from services.demo.students import build_population

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from services.demo.records import Organisation, Person
    from services.demonstration import Mark


def accounts(mark: Mark, today: date) -> list[dict[str, Any]]:
    """Return an object for each account in force on ``today``, and for each service client.

    People come once for every role they hold, so that each role is found by its name: first those
    who hold nothing else, one from each organisation before a second one from any.
    """
    found = list(_people(mark, today))
    held = Counter(account["username"] for account in found)
    before: Counter[tuple[str, str]] = Counter()
    ranked = []
    for account in sorted(found, key=lambda one: held[one["username"]]):
        place = (account["role"], account["organisation_id"])
        ranked.append((held[account["username"]] > 1, before[place], account))
        before[place] += 1
    ranked.sort(key=lambda one: one[:2])
    return [*(account for _, _, account in ranked), *_clients(mark)]


def _people(mark: Mark, today: date) -> Iterator[dict[str, Any]]:
    organisations, people = _workforce(mark)
    names = {o.organisation_id: o.name for o in organisations}
    for person in people:
        for held in person.assignments:
            if held.in_force(today):
                yield {
                    "username": person.username,
                    "password": password_for(mark.seed, person.username),
                    "totp_secret": totp_secret_for(mark.seed, person.username),
                    "person_id": str(person.person_id),
                    "role": held.role,
                    "organisation_id": str(held.organisation_id),
                    "organisation": names[held.organisation_id],
                }


def _workforce(mark: Mark) -> tuple[Sequence[Organisation], Sequence[Person]]:
    """Return who works where: what of the demonstration accounts follow from, and no more."""
    chance = Chance(mark.seed)
    landscape = build_landscape(chance, mark.today)
    households = build_population(chance, landscape.schools, mark.today).households
    staff = build_staff(chance, landscape, households, mark.today)
    abroad, their_staff = desks(chance, mark.today)
    return (*landscape.organisations, *abroad), (*staff.people, *their_staff)


def _clients(mark: Mark) -> Iterator[dict[str, Any]]:
    for client in SERVICE_CLIENTS:
        yield {
            "client_id": client.client_id,
            "client_secret": secret_for(mark.seed, client.client_id),
            "scopes": list(client.scopes),
            "role": "service_client",
        }
