"""The region's organisations, catchments, staff and service clients, as events of authz.

Days become moments: an assignment or catchment begins and ends at midnight of its organisation's
own time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

from services.authz import events as e
from services.authz import seeding
from services.authz.usernames import username_once
from services.demo.credentials import SERVICE_CLIENTS, secret_for, totp_secret_for
from services.kernel.groups import Group

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from services.authz.usernames import Usernames
    from services.demo.records import Assignment, Organisation, Person
    from services.demo.region import Region
    from services.kernel.effects import Effects
    from services.kernel.events import Event
    from services.kernel.keystore import KeyStore
    from services.kernel.sealing import KeyRef

#: the subdivision of the holiday calendar, and the region it stands for in an overview
REGIONS: Final[Mapping[str, str]] = {
    "NTL": "Te Tai Tokerau Northland",
    "AUK": "Tāmaki Makaurau Auckland",
    "WKO": "Waikato",
    "BOP": "Waiariki Bay of Plenty",
    "GIS": "Te Tairāwhiti Gisborne",
    "HKB": "Te Matau-a-Māui Hawke's Bay",
    "TKI": "Taranaki",
    "MWT": "Manawatū-Whanganui",
    "WGN": "Te Whanganui-a-Tara Wellington",
    "NSN": "Whakatū Nelson",
    "MBH": "Te Tauihu Marlborough",
    "CAN": "Waitaha Canterbury",
    "WTC": "Te Tai o Poutini West Coast",
    "OTA": "Ōtākou Otago",
    "STL": "Murihiku Southland",
    "CIT": "Wharekauri Chatham Islands",
}


class Staffing:
    """Makes authz's groups, one for each organisation, person and client."""

    def __init__(
        self, region: Region, seed: int, keys: KeyStore, effects: Effects, usernames: Usernames
    ) -> None:
        self._region = region
        self._seed = seed
        self._keys = keys
        self._effects = effects
        self._usernames = usernames
        self._zones = {o.organisation_id: ZoneInfo(o.time_zone) for o in region.organisations}

    def needed_keys(self) -> list[KeyRef]:
        """Return every key the groups are sealed with; load them before asking for groups."""
        people = [ref for p in self._region.people for ref in seeding.needed_keys(p.person_id)]
        clients = [ref for c in SERVICE_CLIENTS for ref in seeding.client_keys(c.client_id)]
        return [*people, *clients]

    def organisations(self) -> Iterator[Group]:
        """Yield each organisation with its catchment."""
        for organisation in self._region.organisations:
            yield Group(list(self._organisation(organisation)))

    def _organisation(self, organisation: Organisation) -> Iterator[Event]:
        payload = e.OrganisationRegistered(
            organisation_id=organisation.organisation_id,
            kind=e.OrganisationKind(organisation.kind),
            name=organisation.name,
            time_zone=organisation.time_zone,
            holiday_subdivision=organisation.holidays or None,
            phone=organisation.phone,
            address=organisation.address,
            region=REGIONS.get(organisation.holidays),
        )
        now = self._effects.now()
        yield seeding.organisation_event(self._effects, payload, now)
        served = [
            (row.school_id, row.from_, row.until)
            for row in self._region.catchments
            if row.provider_id == organisation.organisation_id
        ]
        if organisation.serves is not None:
            began = min(row.from_ for row in self._region.catchments)
            served.append((organisation.serves, began, None))
        for version, (school_id, from_, until) in enumerate(served, 2):
            zone = self._zones[school_id]
            catchment = e.CatchmentChanged(
                provider_id=organisation.organisation_id,
                school_id=school_id,
                starts_at=_midnight(from_, zone),
                ends_at=_midnight(until, zone) if until else None,
            )
            yield seeding.catchment_event(self._effects, catchment, now, version)

    def person(self, person: Person, password_hash: str) -> Group:
        """Return a person with credentials and assignments."""
        events = seeding.person_events(
            self._keys,
            self._effects,
            self._usernames,
            person_id=person.person_id,
            username=person.username,
            profile=e.Profile(
                given_name=person.given_name,
                family_name=person.family_name,
                email=person.email,
                phone=person.phone,
            ),
            password_hash=password_hash,
            totp_secret=totp_secret_for(self._seed, person.username),
            assignments=[self._granted(person, held) for held in person.assignments],
            recorded_at=self._effects.now(),
        )
        home = person.assignments[-1].organisation_id
        placed = [msgspec.structs.replace(event, organisation_id=home) for event in events]
        return Group(placed, once=[username_once(self._usernames.digest(person.username))])

    def _granted(self, person: Person, held: Assignment) -> e.AssignmentGranted:
        zone = self._zones[held.organisation_id]
        return e.AssignmentGranted(
            assignment_id=held.assignment_id,
            person_id=person.person_id,
            role=e.Role(held.role),
            organisation_id=held.organisation_id,
            starts_at=_midnight(held.from_, zone),
            ends_at=_midnight(held.until, zone) if held.until else None,
        )

    def clients(self) -> Iterator[Group]:
        """Yield each service client."""
        for client in SERVICE_CLIENTS:
            yield Group(
                seeding.client_events(
                    self._keys,
                    self._effects,
                    client_id=client.client_id,
                    name=client.name,
                    scopes=client.scopes,
                    secret=secret_for(self._seed, client.client_id),
                    recorded_at=self._effects.now(),
                )
            )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
