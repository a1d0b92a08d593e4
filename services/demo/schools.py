"""Organisations and catchments of the region.

Owns schools, providers and the Ministry's teams, and who serves whom since
when. Everything comes from `data/region.toml`; chance only adds addresses and
telephone numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, cast, get_args

from services.demo.names import landline, plain, street_address
from services.demo.records import (
    Catchment,
    MinistryFunction,
    Organisation,
    OrganisationKind,
    SchoolKind,
)
from services.demo.tables import table

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

    from services.demo.chance import Chance

CHATHAM = "Chatham Islands"
CATCHMENTS_BEGAN = 5 * 365  # days before today
CATCHMENT_CHANGED = 400


@dataclass(frozen=True, slots=True)
class Town:
    """What the organisations and households of a town have in common."""

    name: str
    dialling_code: str
    postcode: str
    subdivision: str
    mix: str

    @property
    def time_zone(self) -> str:
        """The time zone by its IANA name."""
        return "Pacific/Chatham" if self.name == CHATHAM else "Pacific/Auckland"


@dataclass(frozen=True, slots=True)
class Landscape:
    """The organisations by what they are, with who serves whom."""

    schools: tuple[Organisation, ...]
    asps: tuple[Organisation, ...]
    isps: tuple[Organisation, ...]
    ministry: tuple[Organisation, ...]
    catchments: tuple[Catchment, ...]

    @property
    def organisations(self) -> tuple[Organisation, ...]:
        """Every organisation: schools, then providers, then the Ministry."""
        return self.schools + self.asps + self.isps + self.ministry

    def asp_of(self, school_id: UUID, day: date) -> Organisation:
        """Return the ASP whose catchment holds the school on that day."""
        serving = {
            row.provider_id
            for row in self.catchments
            if row.school_id == school_id and row.in_force(day)
        }
        return next(asp for asp in self.asps if asp.organisation_id in serving)

    def isp_of(self, school_id: UUID) -> Organisation | None:
        """Return the in-school provider of a school, if it has one."""
        return next((isp for isp in self.isps if isp.serves == school_id), None)


@cache
def town(name: str) -> Town:
    """Return a town of the region."""
    return Town(name, *table("region")["towns"][name])


def build_landscape(chance: Chance, today: date) -> Landscape:
    """Lay out the region as it stands today, past catchments included."""
    draw = chance.stream("organisations")
    data = table("region")
    schools: dict[str, tuple[Organisation, ...]] = {
        region: tuple(_school(chance, draw, row) for row in rows)
        for region, rows in data["schools"].items()
    }
    asps = {key: _organisation(chance, draw, "asp", *row) for key, row in data["providers"].items()}
    everywhere = tuple(school for group in schools.values() for school in group)
    return Landscape(
        schools=everywhere,
        asps=tuple(asps.values()),
        isps=_in_school_providers(chance, draw, everywhere),
        ministry=_ministry(chance, draw, asps),
        catchments=_catchments(schools, asps, today),
    )


def _organisation(
    chance: Chance, draw: Random, kind: OrganisationKind, name: str, place: str
) -> Organisation:
    where = town(place)
    host = {"school": "school", "asp": "attendance", "isp": "attendance", "ministry": "ministry"}[
        kind
    ]
    return Organisation(
        organisation_id=chance.identify("organisation", name),
        kind=kind,
        name=name,
        town=place,
        time_zone=where.time_zone,
        holidays=where.subdivision,
        address=street_address(draw, place, where.postcode),
        phone=landline(draw, where.dialling_code),
        email=f"office@{plain(name).replace('.', '-')}.{host}.example",
    )


def _school(chance: Chance, draw: Random, row: list[Any]) -> Organisation:
    name, kind, place, first, last = row
    if kind not in get_args(SchoolKind):
        msg = f"{name}: no such kind of school: {kind}"
        raise ValueError(msg)
    school = _organisation(chance, draw, "school", name, place)
    return replace(school, school_kind=cast("SchoolKind", kind), year_levels=(first, last))


def _in_school_providers(
    chance: Chance, draw: Random, schools: tuple[Organisation, ...]
) -> tuple[Organisation, ...]:
    hosts = [school for school in schools if school.name in table("region")["in_school"]["names"]]
    return tuple(
        replace(
            _organisation(
                chance, draw, "isp", f"{host.name} In-School Attendance Service", host.town
            ),
            serves=host.organisation_id,
            address=host.address,
        )
        for host in hosts
    )


def _ministry(
    chance: Chance, draw: Random, asps: dict[str, Organisation]
) -> tuple[Organisation, ...]:
    data = table("region")
    teams: list[Organisation] = []
    for function in get_args(MinistryFunction):
        for name, place in data["ministry"][function]:
            watched = tuple(asps[key].organisation_id for key in data["monitors"].get(name, ()))
            team = _organisation(chance, draw, "ministry", name, place)
            teams.append(replace(team, function=function, monitors=watched))
    return tuple(teams)


def _catchments(
    schools: dict[str, tuple[Organisation, ...]], asps: dict[str, Organisation], today: date
) -> tuple[Catchment, ...]:
    change = table("region")["catchment_change"]
    began, changed = (
        today - timedelta(days=CATCHMENTS_BEGAN),
        today - timedelta(days=CATCHMENT_CHANGED),
    )
    rows: list[Catchment] = []
    for key, group in schools.items():
        for school in group:
            moved = school.name == change["school"]
            if moved:
                former = asps[change["former"]]
                rows.append(
                    Catchment(former.organisation_id, school.organisation_id, began, changed)
                )
            since = changed if moved else began
            rows.append(Catchment(asps[key].organisation_id, school.organisation_id, since, None))
    return tuple(rows)
